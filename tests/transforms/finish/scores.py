"""Blocks of scores, and steps that run on them."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import to_arrow
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.columns import tensor_field
from beamsplit.transforms.finish import parse_finish


def block_of(**columns: object) -> pa.RecordBatch:
    """numpy arrays become what the model's outputs become, the rest what Arrow makes of it."""
    arrays, fields = [], []
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            fields.append(tensor_field(name, str(values.dtype), values.shape[1:]))
            arrays.append(to_arrow(values, fields[-1]))
        else:
            arrays.append(values if isinstance(values, pa.Array) else pa.array(values))
            fields.append(pa.field(name, arrays[-1].type))
    return with_origin(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), "f", 0)


def run(spec: str, block: pa.RecordBatch, outputs: list[str] | None = None) -> tuple[pa.RecordBatch, list]:
    step = pickle.loads(pickle.dumps(parse_finish(spec, outputs)))  # noqa: S301
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    result.block.validate(full=True)
    bad = {failure.row for failure in result.failures}
    assert result.block.column("_origin_row").to_pylist() == [i for i in range(block.num_rows) if i not in bad]
    return result.block, result.failures


SCORES = np.array([[0.1, 0.7, 0.2], [3.0, 3.0, 1.0]], dtype=np.float32)
RAGGED = pa.array([[1.0, 3.0], None, [2.0, 2.0, 5.0], []], pa.list_(pa.float32()))
