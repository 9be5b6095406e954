"""Scores to the best class: its name where the model tells it, else its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.fitting.classes import ClassNames, Names
from beamsplit.transforms.columns import replace_columns, replace_fields, tensor_field
from beamsplit.transforms.finish.labels import dtype_of, to_labels
from beamsplit.transforms.finish.outputs import ARGMAX
from beamsplit.transforms.finish.scores import Scores, find_scores, finite_rows, to_column
from beamsplit.transforms.spec import SpecStep, boolean, integer, option, text
from beamsplit.transforms.step import StepResult


@dataclass(frozen=True)
class ArgMax(SpecStep):
    """Column of scores -> column `<column>_argmax` with the class of the greatest, over the axis of the classes.

    It holds names where the model tells those of its classes, else int64 places. Of equal scores the first wins.
    """

    NAME: ClassVar[str] = "argmax"
    SUMMARY: ClassVar[str] = "the best class: its name if the model tells it, else its number"
    EXAMPLE: ClassVar[str] = "argmax:column=logits,keep"

    column: str = option(text, None, positional=True)
    """The column of scores, which it replaces; by default the only float output."""

    axis: int = option(integer, None)
    """Of the classes, where axis 0 holds the rows; by default the only one it can be."""

    output: str = option(text, None)
    """The column it makes, if not `<column>_argmax`."""

    keep: bool = option(boolean, False)
    """Whether the scores stay."""

    numbers: bool = option(boolean, False)
    """Whether classes are numbers even where the model tells their names."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    classes: ClassNames | None = None
    """What the model tells of its classes."""

    def _plan(self, schema: pa.Schema) -> tuple[Scores, pa.Field, Names | None]:
        scores = find_scores(self.NAME, schema, self.column, self.outputs, self.axis)
        names = None if self.classes is None or self.numbers else self.classes.of(scores.name, scores.classes)
        return scores, tensor_field(self.output or scores.name + ARGMAX, dtype_of(names), scores.rest), names

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The classes in place of the scores, with one dimension less.

        Raises:
            UsageError: the column is missing, holds no lists of floats or one value a row, or wants an `axis=`.
        """
        scores, field, _ = self._plan(schema)
        return replace_fields(self.NAME, schema, scores.name, [field], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Find the best of the whole column at once; rows that are null, empty, nan or inf fail."""
        scores, field, names = self._plan(block.schema)
        rows, column, failures = finite_rows(block, scores, some=True)

        def best(values: np.ndarray) -> np.ndarray:
            places = np.argmax(values, axis=-1).astype(np.int64)
            return places if names is None else to_labels(places, names)

        array = to_column(scores.apply(column, best), field)
        return StepResult(replace_columns(self.NAME, rows, scores.name, [field], [array], self.keep), failures)
