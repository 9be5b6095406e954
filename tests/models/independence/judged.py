"""Models whose rows do or do not meet, and what is found of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from onnx import numpy_helper, parser

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from tests import onnx_models

OPTIONS = SessionOptions(threads=1)
HEADER = '<ir_version: 9, opset_import: ["" : 17, "ai.onnx.ml" : 3]> '


def save(text: str, folder: Path, **weights: Any) -> str:
    model = parser.parse_model(HEADER + text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items())
    return onnx_models.save(model, folder / "model.onnx")


def block(values: np.ndarray[Any, Any]) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))})


def fitted(path: str, values: np.ndarray[Any, Any], **facts: Any) -> tuple[Fit, pa.RecordBatch]:
    rows = block(values)
    return fit(path, OPTIONS, rows.schema, rows, DataFacts(**facts)), rows


def scored(made: Fit, rows: pa.RecordBatch, batch_size: int = 16) -> list[Any]:
    plan = made.plan if made.plan.row_by_row else _of_size(made, batch_size)
    found = Scorer(plan, made.session).score(rows)
    assert found.failures == []
    column: pa.Array = found.columns[0]
    return list(column.to_pylist())


def _of_size(made: Fit, rows: int) -> Any:

    return replace(made.plan, batch_size=rows)


def alone(path: str, values: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    run = Session(ModelFile(path), OPTIONS).run
    return [run({"x": values[row : row + 1]})[0] for row in range(len(values))]


ALIKE = np.ones((8, 3), np.float32)


ALIKE[5:] = [[2], [4], [8]]
DETECTIONS = """{ h = Constant<value_float=0.5>() g = Greater(x, h) k = Constant<value_ints=[-1]>() f = Reshape(g, k)
    v = Reshape(x, k) y = Compress(v, f) }"""
COUNTS = [1, 1, 1, 0, 2, 0, 2]


def above_half(counts: list[int]) -> np.ndarray[Any, Any]:
    values = np.zeros((len(counts), 4), np.float32)
    for row, count in enumerate(counts):
        values[row, :count] = 0.6 + row / 100
    return values
