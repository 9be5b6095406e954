"""Scores to yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from beamsplit.models.values.tensors import Array
from beamsplit.transforms.columns import replace_columns, replace_fields, tensor_field
from beamsplit.transforms.finish.outputs import THRESHOLD
from beamsplit.transforms.finish.scores import Scores, find_values, finite_rows, to_column
from beamsplit.transforms.spec import SpecStep, boolean, number, option, text
from beamsplit.transforms.step import StepResult


@dataclass(frozen=True)
class Threshold(SpecStep):
    """Column of floats -> bool column `<column>_threshold`: whether each is at least the threshold.

    Axes of size 1 are dropped.
    """

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

    def _plan(self, schema: pa.Schema) -> tuple[Scores, pa.Field]:
        scores = find_values(self.NAME, schema, self.column, self.outputs)
        return scores, tensor_field(self.output or scores.name + THRESHOLD, "bool", scores.shape)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Bools in place of the scores, in the same shape but for axes of size 1.

        Raises:
            UsageError: the column is missing or holds no floats.
        """
        scores, made = self._plan(schema)
        return replace_fields(self.NAME, schema, scores.name, [made], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Compare the whole column at once; rows that are null, nan or inf fail."""
        scores, made = self._plan(block.schema)
        rows, column, failures = finite_rows(block, scores)

        def reached(values: Array) -> Array:
            found: Array = values >= self.least
            return found

        array = to_column(scores.apply(column, reached, back=True), made)
        return StepResult(replace_columns(self.NAME, rows, scores.name, [made], [array], self.keep), failures)
