"""A list of scores to a column a class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import ClassNames
from beamsplit.models.values.tensors import to_arrow
from beamsplit.transforms.columns import replace_columns, replace_fields, tensor_field, tensor_rows
from beamsplit.transforms.finish.scores import Scores, find_scores
from beamsplit.transforms.spec import SpecStep, boolean, integer, option, text
from beamsplit.transforms.step import StepResult

MOST_COLUMNS = 10_000
"""More would be a mistake: an axis that is not that of classes."""


@dataclass(frozen=True)
class Expand(SpecStep):
    """Column of scores -> a column a class, `p_no` and `p_yes`: by the names that the model tells, else by numbers."""

    NAME: ClassVar[str] = "expand"
    SUMMARY: ClassVar[str] = "a column a class: p_no, p_yes where the model tells the names, else p_0, p_1"
    EXAMPLE: ClassVar[str] = "expand:probabilities,prefix=p_"

    column: str = option(text, None, positional=True)
    """The column of scores, which the new ones replace; by default the only float output."""

    axis: int = option(integer, None)
    """Of the classes, where axis 0 holds the rows; by default the only one it can be."""

    prefix: str = option(text, "p_")
    """Begins the names of the columns."""

    keep: bool = option(boolean, False)
    """Whether the list stays too."""

    numbers: bool = option(boolean, False)
    """Whether columns are numbered even where the model tells the names of its classes."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    classes: ClassNames | None = None
    """What the model tells of its classes."""

    def _plan(self, schema: pa.Schema) -> tuple[Scores, list[pa.Field]]:
        scores = find_scores(self.NAME, schema, self.column, self.outputs, self.axis)
        count = scores.classes
        if count is None or None in scores.rest:
            raise UsageError(
                f"expand wants as many scores in each row, and column {scores.name!r} holds {scores.kind}; leave it out"
            )
        if count > MOST_COLUMNS:
            raise UsageError(f"expand would make {count:,} columns of {scores.name!r}; type --finish top_k:5 instead")
        told = self.classes.told(scores.name) if self.classes is not None and not self.numbers else ()
        if told and len(told) != count:
            shown = ", ".join(map(str, told[:4])) + (", ..." if len(told) > 4 else "")
            raise UsageError(
                f"the model names {len(told)} classes ({shown}), and column {scores.name!r} holds {count} scores a "
                f"row: which is whose is not known; type --finish expand:{scores.name},numbers for p_0, p_1, ..."
            )
        names = column_names(told or range(count), self.prefix)
        taken = [name for name in names if name in schema.names and name != scores.name]
        if taken or (self.keep and scores.name in names):
            raise UsageError(
                f"expand makes a column {(taken or [scores.name])[0]!r}, and the data has one of that name already; "
                f"type --finish expand:{scores.name},prefix={scores.name}_"
            )
        return scores, [tensor_field(name, scores.kind.dtype, scores.rest) for name in names]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """A column a class in place of the list.

        Raises:
            UsageError: the column is missing, its rows are not alike, or the model names other classes than it holds.
        """
        scores, fields = self._plan(schema)
        return replace_fields(self.NAME, schema, scores.name, fields, self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Take the whole column apart at once; null rows fail."""
        scores, fields = self._plan(block.schema)
        rows, column, failures = tensor_rows(block, scores.name)
        values = column.values.reshape(rows.num_rows, *(size or 0 for size in scores.shape))
        parts = np.moveaxis(values, scores.axis + 1, 0)
        arrays = [to_arrow(np.ascontiguousarray(part), field) for part, field in zip(parts, fields, strict=True)]
        return StepResult(replace_columns(self.NAME, rows, scores.name, fields, arrays, self.keep), failures)


def column_names(classes: Sequence[str | int], prefix: str) -> list[str]:
    """Names of columns for classes: letters, digits and underscores only, and no two alike in any case.

    >>> column_names(["no", "may be", "may-be", "N.O."], "p_")
    ['p_no', 'p_may_be', 'p_may_be_2', 'p_N_O_']
    """
    made: list[str] = []
    taken: set[str] = set()
    for name in classes:
        plain = prefix + re.sub(r"\W", "_", str(name))
        unique, number = plain, 2
        while unique.lower() in taken:
            unique, number = f"{plain}_{number}", number + 1
        taken.add(unique.lower())
        made.append(unique)
    return made
