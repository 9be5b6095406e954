"""XGBoost's models in the form that onnxmltools converts: what it does not know of them is put into their trees."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost

from beamsplit.models.errors import UsageError

_SAME_MARGINS = {"multi:softmax": "multi:softprob", "reg:logistic": "binary:logistic"}
"""Objectives that differ in what they show of the same sums: it is shown as probabilities."""


def with_probabilities(booster: xgboost.Booster) -> xgboost.Booster:
    """The same model, which gives probabilities where its objective would give their largest, or one of the two."""
    learner = _content(booster)
    name = learner["learner"]["objective"]["name"]
    if name not in _SAME_MARGINS:
        return booster
    learner["learner"]["objective"]["name"] = _SAME_MARGINS[name]
    return _booster(learner)


def plain_trees(booster: xgboost.Booster) -> xgboost.Booster:
    """The same model with one tree a class and round, whose leaves are all there is to add.

    Raises:
        UsageError: it is not of such trees.
    """
    content = _content(booster)
    learner = content["learner"]
    made = learner["gradient_booster"]
    if made["name"] == "dart":
        weights = made["weight_drop"]
        made = learner["gradient_booster"] = made["gbtree"]
        for tree, weight in zip(made["model"]["trees"], weights, strict=True):
            _scale_leaves(tree, weight)
    if made["name"] != "gbtree":
        raise UsageError(f"it is a {made['name']} of XGBoost, and models of trees are converted: train one with them")
    model = made["model"]
    if any(tree["categories"] for tree in model["trees"]):
        raise UsageError(
            "it splits by categories, which are not converted: give each category a column (one-hot), "
            "and train it without enable_categorical"
        )
    if int(learner["learner_model_param"]["num_target"]) > 1:
        raise UsageError("it has several targets, which are not converted: train a model for each")
    _one_tree_a_class(model)
    return _booster(content)


def _scale_leaves(tree: dict[str, Any], weight: float) -> None:
    leaves = np.asarray(tree["left_children"]) == -1
    values = np.asarray(tree["split_conditions"], np.float32)
    tree["split_conditions"] = np.where(leaves, values * np.float32(weight), values).tolist()


def _one_tree_a_class(model: dict[str, Any]) -> None:
    """Of forests the trees of a class lie behind one another; the classes take turns where there is one of each."""
    param, of_class = model["gbtree_model_param"], model["tree_info"]
    if int(param["num_parallel_tree"]) == 1:
        return
    trees_of = [
        [at for at, one in enumerate(of_class) if one == klass] for klass in range(max(of_class, default=0) + 1)
    ]
    order = [at for turn in zip(*trees_of, strict=True) for at in turn]
    model["trees"] = [model["trees"][at] | {"id": number} for number, at in enumerate(order)]
    model["tree_info"] = [of_class[at] for at in order]
    param["num_parallel_tree"] = "1"
    model["iteration_indptr"] = list(range(0, len(order) + 1, len(trees_of)))


def _content(booster: xgboost.Booster) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    return content


def _booster(content: dict[str, Any]) -> xgboost.Booster:
    found = xgboost.Booster()
    found.load_model(bytearray(json.dumps(content).encode()))
    return found
