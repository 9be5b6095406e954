"""Scores to probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from models.tensors import TensorColumn
from transforms.columns import pack, replace_columns, replace_fields, tensor_field, tensor_rows
from transforms.finish.outputs import is_scores, resolve
from transforms.spec import SpecStep, option, text
from transforms.step import StepResult


@dataclass(frozen=True)
class Softmax(SpecStep):
    """`exp(x) / sum(exp(x))` over the last axis, in place."""

    NAME: ClassVar[str] = "softmax"
    SUMMARY: ClassVar[str] = "scores to probabilities, over the last axis"
    EXAMPLE: ClassVar[str] = "softmax:column=logits"

    column: str = option(text, None, positional=True)
    """The column of scores, which it replaces; by default the only float output."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same column, of the same dtype.

        Raises:
            UsageError: the column is missing or holds no lists of floats.
        """
        name, kind = resolve(self.NAME, schema, self.column, self.outputs, is_scores, "several float scores a row")
        return replace_fields(self.NAME, schema, name, [tensor_field(name, kind.dtype, kind.shape)], False)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Normalise the whole column at once; null rows fail."""
        name, kind = resolve(
            self.NAME, block.schema, self.column, self.outputs, is_scores, "several float scores a row"
        )
        rows, column, failures = tensor_rows(block, name)
        field = tensor_field(name, kind.dtype, kind.shape)
        array = pack(column, softmax(column), field)
        return StepResult(replace_columns(self.NAME, rows, name, [field], [array], False), failures)


def softmax(column: TensorColumn) -> np.ndarray:
    """The values of a column, normalised over the last axis of each row; the greatest score is taken off first."""
    values = column.values
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    with np.errstate(invalid="ignore"):
        if column.shapes is not None:
            return _of_runs(wide, _last_axis_lengths(column.shapes)).astype(values.dtype, copy=False)
        if wide.size == 0:
            return values
        made: np.ndarray = np.exp(wide - wide.max(axis=-1, keepdims=True))
        made /= made.sum(axis=-1, keepdims=True)
    return made.astype(values.dtype, copy=False)


def _last_axis_lengths(shapes: np.ndarray) -> np.ndarray:
    return np.repeat(shapes[:, -1], np.prod(shapes[:, :-1], axis=1))


def _of_runs(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Softmax of each run of consecutive values; the lengths of the runs add up to all values."""
    lengths = lengths[lengths > 0]
    if not lengths.size:
        return values
    starts = np.cumsum(lengths) - lengths
    made: np.ndarray = np.exp(values - np.repeat(np.maximum.reduceat(values, starts), lengths))
    made /= np.repeat(np.add.reduceat(made, starts), lengths)
    return made
