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
from beamsplit.models.convert.xgboost_trees import plain_trees, with_probabilities


def load(path: str, trust: bool) -> Original:
    """The model of a file."""
    booster = xgboost.Booster()
    booster.load_model(path)
    shown = with_probabilities(booster)
    objective = json.loads(shown.save_config())["learner"]["objective"]["name"]
    classifies = objective.startswith(("binary:", "multi:"))
    model = _model(shown, classifies)
    names = names_of(booster.feature_names)
    width = int(booster.num_features())

    def export(feeds: Feeds) -> Any:
        made = _model(plain_trees(shown), classifies)
        # The converter takes no names of the user's own.
        made.get_booster().feature_names = None
        return onnxmltools.convert_xgboost(made, initial_types=[(MATRIX, FloatTensorType([None, width]))])

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        if not classifies:
            return {"variable": model.predict(feeds[MATRIX])}
        return {"label": model.predict(feeds[MATRIX]), "probabilities": model.predict_proba(feeds[MATRIX])}

    return Original(width, names, export, predict, missing=True)


def _model(booster: xgboost.Booster, classifies: bool) -> Any:
    """As scikit-learn would have it, which the converter asks for."""
    model = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    model.load_model(booster.save_raw("ubj"))
    return model
