"""LightGBM's models, as `save_model` writes them, by onnxmltools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

from beamsplit.models.convert.original import MATRIX, Feeds, Original, both_classes, names_of


def load(path: str, trust: bool) -> Original:
    """The model of a file."""
    booster = lightgbm.Booster(model_file=path)
    width = int(booster.num_feature())
    objective = booster.dump_model(num_iteration=1).get("objective", "")
    classifies = objective.startswith(("binary", "multiclass", "cross_entropy", "xentropy"))

    def export(feeds: Feeds) -> Any:
        types = [(MATRIX, FloatTensorType([None, width]))]
        return onnxmltools.convert_lightgbm(booster, initial_types=types, zipmap=False)

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        found = np.asarray(booster.predict(feeds[MATRIX]))
        if not classifies:
            return {"variable": found}
        probabilities = both_classes(found)
        return {"label": probabilities.argmax(axis=1), "probabilities": probabilities}

    return Original(width, names_of(booster.feature_name()), export, predict, missing=True)
