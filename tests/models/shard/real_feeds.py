"""Rows for models that come with packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import load

from tests.models.shard.numbers import numbers

Feeds = dict[str, np.ndarray]


def mlp_feeds(rows: int) -> Feeds:
    return {"x": numbers(rows, 64)}


def encoder_feeds(rows: int) -> Feeds:
    rng = np.random.default_rng(rows)
    mask = np.ones((rows, 8 + rows), np.int64)
    mask[rows // 2, 5:] = 0
    shape = mask.shape
    return {
        "input_ids": rng.integers(0, 30000, shape),
        "attention_mask": mask,
        "token_type_ids": np.zeros(shape, np.int64),
    }


def image_feeds(path: Path) -> Callable[[int], Feeds]:
    name = load(str(path)).graph.input[0].name
    return lambda rows: {name: numbers(rows, 3, 224, 224)}
