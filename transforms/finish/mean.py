"""The copies that `augment` made, averaged back into one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import TensorColumn, column_type, ragged_to_arrow, to_arrow, unpack
from beamsplit.transforms.block import COPY, ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.columns import describe, drop_rows, failures_of, split_rows, tensor_field
from beamsplit.transforms.finish.outputs import FLOATS
from beamsplit.transforms.finish.softmax import Softmax
from beamsplit.transforms.step import RowFailure, Step, StepResult


@dataclass(frozen=True)
class MeanOfCopies:
    """Consecutive rows of one origin -> one row, with the mean of its float outputs over the copies that are there.

    Other columns (labels, integers, kept columns) are those of the first copy. Copies of one row must be in one
    block; where one of them failed, none is there (see `whole_rows`). Blocks without copies stay as they are.
    """

    columns: tuple[str, ...]
    """The columns to average: the model's outputs."""

    def _averaged(self, schema: pa.Schema) -> list[pa.Field]:
        missing = [name for name in self.columns if name not in schema.names]
        if missing:
            raise UsageError(
                f"the average of augmented copies wants column {missing[0]!r}, which is missing: the columns are "
                f"{describe(schema)}; type --finish steps that replace an output without augment"
            )
        fields = []
        for name in self.columns:
            kind = column_type(schema.field(name).type)
            if kind is not None and kind.dtype in FLOATS:
                fields.append(tensor_field(name, kind.dtype, kind.shape))
        return fields

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same columns without the number of the copy.

        Raises:
            UsageError: a column to average is missing.
        """
        if COPY not in schema.names:
            return schema
        averaged = {field.name: field for field in self._averaged(schema)}
        return pa.schema([averaged.get(field.name, field) for field in schema if field.name != COPY])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Average whole columns at once; rows whose copies have unlike shapes fail."""
        if COPY not in block.schema.names:
            return StepResult(block)
        fields = self._averaged(block.schema)
        failures = self._failures(block, fields)
        rows = drop_rows(block, [failure.row for failure in failures])
        starts = starts_of_originals(rows)
        counts = np.diff(np.append(starts, rows.num_rows))
        averaged = {field.name: _mean(unpack(rows.column(field.name)), starts, counts, field) for field in fields}
        schema = self.output_schema(block.schema)
        first = rows.take(pa.array(starts))
        arrays = [averaged[name] if name in averaged else first.column(name) for name in schema.names]
        return StepResult(pa.RecordBatch.from_arrays(arrays, schema=schema), failures)

    def _failures(self, block: pa.RecordBatch, fields: Sequence[pa.Field]) -> list[RowFailure]:
        """Copies that are null, and all copies of a row whose outputs have unlike shapes."""
        reasons: dict[int, str] = {}
        starts = starts_of_originals(block)
        owner = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, block.num_rows)))
        for field in fields:
            column = unpack(block.column(field.name))
            for row, reason in failures_of(column, field.name):
                reasons.setdefault(row, reason)
            if column.shapes is not None and len(starts):
                unlike = (column.shapes != column.shapes[starts][owner]).any(axis=1)
                for row in np.flatnonzero(np.isin(owner, owner[unlike])).tolist():
                    reasons.setdefault(row, f"its augmented copies have outputs {field.name!r} of unlike shapes")
        return [RowFailure(row, reasons[row]) for row in sorted(reasons)]


def starts_of_originals(block: pa.RecordBatch) -> np.ndarray:
    """The rows that begin a new original: another origin than the row before, or a number that does not go up."""
    if not block.num_rows:
        return np.zeros(0, dtype=np.int64)
    new = np.diff(block.column(COPY).to_numpy(zero_copy_only=False).astype(np.int64)) <= 0
    for name in (ORIGIN_FILE, ORIGIN_ROW):
        if name in block.schema.names:
            column = block.column(name)
            codes = column.indices if isinstance(column, pa.DictionaryArray) else column
            new |= np.diff(codes.to_numpy(zero_copy_only=False)) != 0
    return np.concatenate(([0], np.flatnonzero(new) + 1))


def _mean(column: TensorColumn, starts: np.ndarray, counts: np.ndarray, field: pa.Field) -> pa.Array:
    if column.offsets is None:
        values = column.values
        sums = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
        means = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
        return to_arrow(means.astype(values.dtype), field)
    rows = split_rows(column)
    means_of = [
        np.mean(rows[start : start + count], axis=0, dtype=np.float64).astype(column.values.dtype)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
    return ragged_to_arrow(means_of, field)


def with_mean_of_copies(steps: Sequence[Step], columns: Sequence[str]) -> list[Step]:
    """The finish steps of a job with `augment`: probabilities are averaged, so leading softmaxes come before.

    Args:
        steps: the finish steps as given.
        columns: the model's output columns.
    """
    leading = next((number for number, step in enumerate(steps) if not isinstance(step, Softmax)), len(steps))
    return [*steps[:leading], MeanOfCopies(tuple(columns)), *steps[leading:]]
