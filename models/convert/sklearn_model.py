"""scikit-learn's models, by skl2onnx: of skops, whose types are looked at first, or pickles, which run code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import skl2onnx
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.pipeline import Pipeline

from beamsplit.models.convert.original import MATRIX, Feeds, Original
from beamsplit.models.convert.sklearn_types import LOOKED_AT, check_trees
from beamsplit.models.errors import UsageError

_OPSETS = {"": skl2onnx.__max_supported_opset__, "ai.onnx.ml": 3}
"""By domain; some of skl2onnx's converters know no later one of ai.onnx.ml."""

VOTES = (VotingClassifier, VotingRegressor)


def load(path: str, trust: bool) -> Original:
    """The model of a file.

    Raises:
        UsageError: what is in it is not trusted, or it is no model.
    """
    model = _skops(path, trust) if path.lower().endswith(".skops") else _pickle(path, trust)
    width = getattr(model, "n_features_in_", None)
    if width is None or not (hasattr(model, "predict") or hasattr(model, "transform")):
        raise UsageError(f"{path} holds a {type(model).__name__}, which is no model of scikit-learn that was fitted")
    names = getattr(model, "feature_names_in_", None)
    by_column = names is not None and _has_columns(model)
    return Original(
        int(width),
        None if names is None else tuple(map(str, names)),
        lambda feeds: _export(model, feeds),
        lambda feeds: _predict(model, _rows(feeds, by_column)),
        by_column,
    )


def _skops(path: str, trust: bool) -> Any:
    import skops.io

    found = skops.io.get_untrusted_types(file=path)
    unknown = [name for name in found if name not in LOOKED_AT]
    if unknown and not trust:
        raise UsageError(
            f"{path} has types that neither skops nor beamsplit vouches for ({', '.join(unknown)}), whose code would "
            "run; if you know who made it, add --trust"
        )
    model = skops.io.load(path, trusted=found)
    check_trees(model, path)
    return model


def _pickle(path: str, trust: bool) -> Any:
    if not trust:
        raise UsageError(
            f"{path} is a pickle, which can run any code when it is loaded; save it with skops (skops.io.dump(model, "
            "'m.skops')), or add --trust if you know who made it"
        )
    import joblib

    return joblib.load(path)


def _has_columns(model: Any) -> bool:
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    return isinstance(first, ColumnTransformer) or (isinstance(first, Pipeline) and _has_columns(first))


def _rows(feeds: Feeds, by_column: bool) -> Any:
    if not by_column:
        return feeds[MATRIX]
    import pandas as pd

    return pd.DataFrame({name: array[:, 0] for name, array in feeds.items()})


def _parts(model: Any) -> Iterator[Any]:
    """The model, and those that it is made of, as far as pipelines and votes go."""
    yield model
    inner = [one for _, one in model.steps] if isinstance(model, Pipeline) else getattr(model, "estimators_", ())
    for one in inner if isinstance(inner, list) else ():
        yield from _parts(one)


def _as_converters_take_it(model: Any) -> Any:
    """The model, or a copy that predicts the same: of a vote, no converter knows what only its `transform` heeds, and
    weights are to be an array."""
    if any(isinstance(one, VOTES) for one in _parts(model)):
        model = copy.deepcopy(model)
        for one in _parts(model):
            if isinstance(one, VOTES) and one.weights is not None:
                one.weights = np.asarray(one.weights)
            if isinstance(one, VotingClassifier):
                one.flatten_transform = False
    return model


def _export(model: Any, feeds: Feeds) -> Any:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    model = _as_converters_take_it(model)
    kinds = {"f": FloatTensorType, "i": Int64TensorType, "O": StringTensorType}
    types = [(name, kinds[array.dtype.kind]([None, array.shape[1]])) for name, array in feeds.items()]
    for options in ({"zipmap": False}, None) if is_classifier(model) else (None,):
        try:
            return skl2onnx.to_onnx(model, initial_types=types, options=options, target_opset=_OPSETS)
        except Exception as error:  # skl2onnx raises what it finds
            if options and isinstance(error, NameError) and "zipmap" in str(error):
                continue  # some classifiers have no map of probabilities
            raise UsageError(
                f"skl2onnx cannot convert this {type(model).__name__} ({' '.join(str(error).split())[:300]})"
            ) from None
    raise AssertionError("the last options are none")


def _predict(model: Any, rows: Any) -> Mapping[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = {}
    if is_classifier(model):
        found["label"] = np.asarray(model.predict(rows))
        if not hasattr(model, "predict_proba") and not hasattr(model, "decision_function"):
            return found  # a vote of labels has nothing but its winner
        shown = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.decision_function(rows)
        if isinstance(shown, list):
            raise UsageError("it is several classifiers in one, each with probabilities: convert each by itself")
        found["probabilities"] = np.asarray(shown)
        return found
    if not hasattr(model, "predict"):
        return {"variable": np.asarray(model.transform(rows))}
    if hasattr(model, "fit_predict"):  # clusters and outliers
        found["label"] = np.asarray(model.predict(rows))
        of_rows = model.decision_function if hasattr(model, "decision_function") else getattr(model, "transform", None)
        return found if of_rows is None else {**found, "scores": np.asarray(of_rows(rows))}
    return {"variable": np.asarray(model.predict(rows))}
