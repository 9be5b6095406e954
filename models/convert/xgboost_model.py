"""XGBoost's models, as `save_model` writes them, by onnxmltools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from beamsplit.models.convert.original import MATRIX, Feeds, Original, names_of


def load(path: str, trust: bool) -> Original:
    """The model of a file."""
    booster = xgboost.Booster()
    booster.load_model(path)
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    classifies = objective.startswith(("binary:", "multi:"))
    model = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    model.load_model(path)
    names = names_of(booster.feature_names)
    # The converter takes no names of the user's own.
    model.get_booster().feature_names = None

    def export(feeds: Feeds) -> Any:
        return onnxmltools.convert_xgboost(model, initial_types=[(MATRIX, FloatTensorType([None, width]))])

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        if not classifies:
            return {"variable": model.predict(feeds[MATRIX])}
        return {"label": model.predict(feeds[MATRIX]), "probabilities": model.predict_proba(feeds[MATRIX])}

    width = int(booster.num_features())
    return Original(width, names, export, predict, missing=True)
