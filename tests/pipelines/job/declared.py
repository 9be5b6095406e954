"""Models whose declarations are unlike what they give, and each row of data as ONNX Runtime scores it alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
from onnx import numpy_helper

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer

Array = np.ndarray[Any, Any]
CPU = SessionOptions(threads=1)


def floats(*shape: int, seed: int = 0) -> Array:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def written(path: Path, text: str, weights: Mapping[str, Any] | None = None, opset: int = 17, ir: int = 9) -> str:
    """Write a model in ONNX's textual form, e.g. `g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }`."""
    model = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> {text}')
    for name, value in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, str(path))
    return str(path)


def tensors(**columns: Array) -> pa.RecordBatch:
    """A block with a column an array: flat where it has one axis, else tensors."""
    arrays = [pa.array(a) if a.ndim == 1 else pa.FixedShapeTensorArray.from_numpy_ndarray(a) for a in columns.values()]
    return pa.record_batch(arrays, names=list(columns))


def scored(path: str, block: pa.RecordBatch, sample: pa.RecordBatch | None = None, **facts: Any) -> tuple[Fit, Any]:
    """(the fit, what scoring the block gave)."""
    made = fit(path, CPU, block.schema, block.slice(0, 8) if sample is None else sample, DataFacts(**facts))
    return made, Scorer(made.plan, made.session).score(block)


def alone(path: str, feeds: Mapping[str, Array], output: int = 0) -> list[Array]:
    """What ONNX Runtime gives for each row as a batch of one."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = len(next(iter(feeds.values())))
    return [session.run(None, {name: a[row : row + 1] for name, a in feeds.items()})[output] for row in range(rows)]


def as_arrays(column: pa.Array) -> list[Array]:
    """The value of each row."""
    if isinstance(column, pa.FixedShapeTensorArray):
        return list(column.to_numpy_ndarray())
    return [np.asarray(value) for value in column.to_pylist()]
