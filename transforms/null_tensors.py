"""Tensors that are null on their way to Parquet, out of which Arrow does not read them: their rows fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.step import RowFailure, StepResult


def tensor_columns(schema: pa.Schema) -> list[str]:
    """The columns of tensors of a fixed shape."""
    return [name for name in data_columns(schema) if isinstance(schema.field(name).type, pa.FixedShapeTensorType)]


@dataclass(frozen=True)
class NoNullTensors:
    """The last step of a job that writes Parquet."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same."""
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Rows with a tensor that is null fail."""
        reasons: dict[int, str] = {}
        for name in tensor_columns(block.schema):
            column = block.column(name)
            if column.null_count:
                told = f"a null tensor in column {name!r}, which Parquet does not give back: write .jsonl or .csv"
                nulls = np.flatnonzero(np.asarray(column.is_null()))
                reasons = dict.fromkeys(nulls.tolist(), told) | reasons
        if not reasons:
            return StepResult(block)
        rows = sorted(reasons)
        return StepResult(drop_rows(block, rows), [RowFailure(row, reasons[row]) for row in rows])
