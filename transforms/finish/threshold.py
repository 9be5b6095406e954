"""Scores to yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from models.tensors import ColumnType
from transforms.columns import pack, replace_columns, replace_fields, tensor_field, tensor_rows
from transforms.finish.outputs import THRESHOLD, is_float, resolve
from transforms.spec import SpecStep, boolean, number, option, text
from transforms.step import StepResult


@dataclass(frozen=True)
class Threshold(SpecStep):
    """Column of floats -> bool column `<column>_threshold`: whether each is at least the threshold."""

    NAME: ClassVar[str] = "threshold"
    SUMMARY: ClassVar[str] = "whether scores are at least a number"
    EXAMPLE: ClassVar[str] = "threshold:0.5,keep"

    least: float = option(number, positional=True)
    """The threshold; a score equal to it counts as true."""

    column: str = option(text, None)
    """The column of scores, which it replaces; by default the only float output."""

    output: str = option(text, None)
    """The column it makes, if not `<column>_threshold`."""

    keep: bool = option(boolean, False)
    """Whether the scores stay."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    def _plan(self, schema: pa.Schema) -> tuple[str, ColumnType, pa.Field]:
        name, kind = resolve(self.NAME, schema, self.column, self.outputs, is_float, "float scores")
        return name, kind, tensor_field(self.output or name + THRESHOLD, "bool", kind.shape)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Bools in place of the scores, in the same shape.

        Raises:
            UsageError: the column is missing or holds no floats.
        """
        name, _, made = self._plan(schema)
        return replace_fields(self.NAME, schema, name, [made], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Compare the whole column at once; null rows fail."""
        name, _, made = self._plan(block.schema)
        rows, column, failures = tensor_rows(block, name)
        array = pack(column, column.values >= self.least, made)
        return StepResult(replace_columns(self.NAME, rows, name, [made], [array], self.keep), failures)
