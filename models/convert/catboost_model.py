"""CatBoost's models, by its own export to ONNX."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import catboost
import numpy as np
import onnx

from beamsplit.models.convert.original import MATRIX, Feeds, Original, names_of
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.rewrites import drop_zipmap

_CLASSES = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")


def load(path: str, trust: bool) -> Original:
    """The model of a file.

    Raises:
        UsageError: its features are not numbers.
    """
    model = catboost.CatBoost()
    model.load_model(path)
    if any((model.get_cat_feature_indices(), model.get_text_feature_indices(), model.get_embedding_feature_indices())):
        raise UsageError(
            f"{path} takes categories, texts or embeddings, which CatBoost does not write as ONNX: give it numbers"
        )
    loss = str(model.get_all_params().get("loss_function", "")).split(":")[0]

    def export(feeds: Feeds) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "m.onnx")
            model.save_model(file, format="onnx")
            made = onnx.load(file)
        drop_zipmap(made)
        if loss == "MultiClassOneVsAll":
            _each_class_alone(made)
        (taken,) = made.graph.input
        for node in made.graph.node:
            node.input[:] = [MATRIX if name == taken.name else name for name in node.input]
        taken.name = MATRIX
        return made

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        if loss not in _CLASSES:
            return {"predictions": np.asarray(model.predict(feeds[MATRIX]))}
        return {
            "label": np.asarray(model.predict(feeds[MATRIX], prediction_type="Class")).reshape(-1),
            "probabilities": np.asarray(model.predict(feeds[MATRIX], prediction_type="Probability")),
        }

    names = names_of(model.feature_names_)
    return Original(len(model.feature_names_), names, export, predict, missing=True)


def _each_class_alone(made: onnx.ModelProto) -> None:
    """Their probabilities need not sum to 1: CatBoost writes a softmax."""
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.name == "post_transform" and attribute.s == b"SOFTMAX":
                attribute.s = b"LOGISTIC"
