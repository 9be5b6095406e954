"""Scores to the number of the best class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from models.errors import UsageError
from models.tensors import ColumnType, ragged_to_arrow, to_arrow
from transforms.columns import (
    drop_rows,
    replace_columns,
    replace_fields,
    split_rows,
    survivors,
    tensor_field,
    tensor_rows,
)
from transforms.finish.outputs import ARGMAX, is_scores, resolve
from transforms.spec import SpecStep, boolean, option, text
from transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class ArgMax(SpecStep):
    """Column of scores -> int64 column `<column>_argmax` with the place of the greatest, over the last axis.

    Of equal scores the first wins.
    """

    NAME: ClassVar[str] = "argmax"
    SUMMARY: ClassVar[str] = "number of the best class"
    EXAMPLE: ClassVar[str] = "argmax:column=logits,keep"

    column: str = option(text, None, positional=True)
    """The column of scores, which it replaces; by default the only float output."""

    output: str = option(text, None)
    """The column it makes, if not `<column>_argmax`."""

    keep: bool = option(boolean, False)
    """Whether the scores stay."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    def _plan(self, schema: pa.Schema) -> tuple[str, ColumnType, pa.Field]:
        name, kind = resolve(self.NAME, schema, self.column, self.outputs, is_scores, "several float scores a row")
        if kind.shape[-1] in (0, 1):
            raise UsageError(
                f"argmax wants a score for each class, and column {name!r} holds {kind.shape[-1]} a row; "
                f"type threshold:0.5,column={name}"
            )
        return name, kind, tensor_field(self.output or name + ARGMAX, "int64", kind.shape[:-1])

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The class numbers in place of the scores, with one dimension less.

        Raises:
            UsageError: the column is missing, holds no lists of floats, or only one class.
        """
        name, _, field = self._plan(schema)
        return replace_fields(self.NAME, schema, name, [field], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Find the best of the whole column at once; null and empty rows fail."""
        name, _, field = self._plan(block.schema)
        rows, column, failures = tensor_rows(block, name)
        if column.shapes is None:
            array = to_arrow(np.argmax(column.values, axis=-1).astype(np.int64), field)
        else:
            empty = np.flatnonzero(column.shapes[:, -1] == 0).tolist()
            if empty:
                places = survivors(block.num_rows, failures)
                failures += [RowFailure(int(places[row]), f"no scores in column {name!r}") for row in empty]
                failures.sort()
                rows, column, _ = tensor_rows(drop_rows(rows, empty), name)
            best = [np.asarray(np.argmax(row, axis=-1), dtype=np.int64) for row in split_rows(column)]
            array = ragged_to_arrow(best, field)
        return StepResult(replace_columns(self.NAME, rows, name, [field], [array], self.keep), failures)
