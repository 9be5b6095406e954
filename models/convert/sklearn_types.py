"""What scikit-learn's models hold beside what skops vouches for: looked at here, so that forests need no --trust."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from beamsplit.models.errors import UsageError

LOOKED_AT = frozenset(
    {
        # Numbers only, which `check_trees` looks at.
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        # Attributes only, and no code of their own when they are loaded.
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Types by their full names."""


def check_trees(model: Any, path: str) -> None:
    """Raise unless the nodes of all trees lead to nodes of theirs: compiled code follows them without looking.

    Raises:
        UsageError: a tree is damaged, or was made to do harm.
    """
    for tree, features in _trees(model, None, set()):
        if not _is_sound(tree, features):
            raise UsageError(f"{path} has a tree whose nodes lead out of it: it is damaged; save the model again")


def _trees(found: Any, features: int | None, seen: set[int]) -> Iterator[tuple[Any, int | None]]:
    """(each tree in an object, how many features those who hold it hand on to it)."""
    if id(found) in seen:
        return
    seen.add(id(found))
    parts: Iterable[Any] = ()
    if type(found).__name__ in ("Tree", "TreePredictor"):
        yield found, features
    elif isinstance(found, dict):
        parts = found.values()
    elif isinstance(found, (list, tuple)):
        parts = found
    elif isinstance(found, np.ndarray):
        parts = found.ravel() if found.dtype == object else ()
    elif hasattr(found, "__dict__"):
        parts = vars(found).values()
        of_trees = type(found).__module__.startswith(("sklearn.tree.", "sklearn.ensemble."))
        width = getattr(found, "n_features_in_", None)
        # What is stacked gets the outputs of others.
        if of_trees and width is not None and not hasattr(found, "final_estimator_"):
            features = width if features is None else min(features, width)
        elif not of_trees or hasattr(found, "final_estimator_"):
            features = None
    for part in parts:
        yield from _trees(part, features, seen)


def _is_sound(tree: Any, features: int | None) -> bool:
    binned = hasattr(tree, "nodes")
    nodes = tree.nodes if binned else tree.__getstate__()["nodes"]
    sides = ("left", "right") if binned else ("left_child", "right_child")
    leads = [nodes[side].astype(np.int64) for side in sides]
    feature = nodes["feature_idx" if binned else "feature"].astype(np.int64)
    leaf = nodes["is_leaf"].astype(bool) if binned else leads[0] == -1
    at, last = np.arange(len(nodes)), len(nodes)
    # A child stands behind its parent, so that every way ends.
    inside = np.all([(one > at) & (one < last) for one in leads], axis=0)
    known = (feature >= 0) & (feature < (features or 0))
    if binned:
        known &= (nodes["is_categorical"] == 0) | (nodes["bitset_idx"] < len(tree.raw_left_cat_bitsets))
    return bool(last and np.all(leaf | (inside & known)))
