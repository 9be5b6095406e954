"""LightGBM's models, as `save_model` writes them, by onnxmltools, and what that leaves out put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

from beamsplit.models.convert.original import MATRIX, Feeds, Original, both_classes, names_of
from beamsplit.models.errors import UsageError

_ALIKE = {"fair": "regression", "mape": "regression", "custom": "regression", "none": "regression"}
"""Objectives that the converter does not know, and others that show the sum of the trees in the same way."""

_OBJECTIVE = re.compile(r"^objective=(.*)$", re.MULTILINE)
_SIGMOID = re.compile(r"\bsigmoid:(\S+)")


def load(path: str, trust: bool) -> Original:
    """The model of a file.

    Raises:
        UsageError: its trees are of a kind that ONNX does not have.
    """
    booster = lightgbm.Booster(model_file=path)
    width = int(booster.num_feature())
    text = booster.model_to_string()
    found = _OBJECTIVE.search(text)
    objective = found[1] if found else "custom"
    classifies = objective.startswith(("binary", "multiclass")) or objective.split()[0] in ("cross_entropy", "xentropy")
    if re.search(r"^is_linear=1$", text, re.MULTILINE):
        raise UsageError(f"{path} has linear functions in its leaves, which ONNX has not: train it without linear_tree")
    if "sqrt" in objective.split():
        raise UsageError(f"{path} was trained with reg_sqrt, which is not converted: train it on the roots yourself")

    def export(feeds: Feeds) -> Any:
        types = [(MATRIX, FloatTensorType([None, width]))]
        plain = _with_objective(text, objective)
        made = onnxmltools.convert_lightgbm(plain, initial_types=types, zipmap=False)
        (node,) = (node for node in made.graph.node if node.op_type.startswith("TreeEnsemble"))
        share = 1 / booster.current_iteration() if "\naverage_output\n" in text else 1.0
        slope = _SIGMOID.search(objective)
        _scale(node, share * float(slope[1] if slope else 1))
        if objective.startswith("multiclassova"):
            _set_post_transform(node, b"LOGISTIC")
        return made

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        found = np.asarray(booster.predict(feeds[MATRIX]))
        if not classifies:
            return {"variable": found}
        probabilities = both_classes(found)
        return {"label": probabilities.argmax(axis=1), "probabilities": probabilities}

    return Original(width, names_of(booster.feature_name()), export, predict, missing=True)


def _with_objective(text: str, objective: str) -> lightgbm.Booster:
    """The same trees, of an objective that the converter knows."""
    name = objective.split()[0]
    known = "binary sigmoid:1" if name in ("cross_entropy", "xentropy") else _ALIKE.get(name, objective)
    if _OBJECTIVE.search(text):
        text = _OBJECTIVE.sub(f"objective={known}", text)
    else:
        text = text.replace("\nfeature_names=", f"\nobjective={known}\nfeature_names=", 1)
    found = lightgbm.Booster(model_str=text)
    found.params["objective"] = known
    return found


def _scale(node: Any, by: float) -> None:
    """What the leaves add: of forests a tree's share, of sigmoids the slope."""
    for attribute in node.attribute:
        if by != 1.0 and attribute.name in ("target_weights", "class_weights"):
            attribute.floats[:] = [one * by for one in attribute.floats]


def _set_post_transform(node: Any, name: bytes) -> None:
    for attribute in node.attribute:
        if attribute.name == "post_transform":
            attribute.s = name
