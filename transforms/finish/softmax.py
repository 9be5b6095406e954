"""Scores to probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import Array
from beamsplit.transforms.columns import replace_columns, replace_fields, tensor_field
from beamsplit.transforms.finish.scores import Scores, find_scores, finite_rows, to_column
from beamsplit.transforms.spec import SpecStep, integer, option, text
from beamsplit.transforms.step import RowFailure, StepResult

TELLING_ROWS = 8
"""So many rows that all are probabilities already are no chance."""

ALREADY = "already sums to 1"


@dataclass(frozen=True)
class Softmax(SpecStep):
    """`exp(x) / sum(exp(x))` over the axis of the classes, in place; axes of size 1 are dropped.

    Scores that are probabilities already are refused: softmax of them would be near-equal numbers that look like some.
    """

    NAME: ClassVar[str] = "softmax"
    SUMMARY: ClassVar[str] = "scores to probabilities, over the axis of the classes"
    EXAMPLE: ClassVar[str] = "softmax:column=logits"

    column: str = option(text, None, positional=True)
    """The column of scores, which it replaces; by default the only float output."""

    axis: int = option(integer, None)
    """Of the classes, where axis 0 holds the rows; by default the only one it can be."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    def _plan(self, schema: pa.Schema) -> tuple[Scores, pa.Field]:
        scores = find_scores(self.NAME, schema, self.column, self.outputs, self.axis)
        return scores, tensor_field(scores.name, scores.kind.dtype, scores.shape)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same column, of the same dtype, without axes of size 1.

        Raises:
            UsageError: the column is missing, holds no lists of floats or one value a row, or wants an `axis=`.
        """
        scores, field = self._plan(schema)
        return replace_fields(self.NAME, schema, scores.name, [field], False)

    def check_sample(self, block: pa.RecordBatch) -> None:
        """Refuse scores that are probabilities already.

        Raises:
            UsageError: they are, in each row of the sample.
        """
        scores, _ = self._plan(block.schema)
        _, column, _ = finite_rows(block, scores, some=True)
        told = scores.apply(column, are_probabilities)
        if len(told) and all(map(np.all, told)):
            raise UsageError(
                f"softmax wants scores, and column {scores.name!r} {ALREADY} in each of {len(told)} sample rows: "
                "the model gives probabilities; leave --finish softmax out"
            )

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Normalise the whole column at once; rows that are null, nan or inf fail.

        So do all rows of a block that are probabilities already, which a sample would have shown before.
        """
        scores, field = self._plan(block.schema)
        rows, column, failures = finite_rows(block, scores)
        if rows.num_rows >= TELLING_ROWS and all(map(np.all, scores.apply(column, are_probabilities))):
            good = sorted(set(range(block.num_rows)) - {failure.row for failure in failures})
            reason = f"column {scores.name!r} {ALREADY}, so it holds no scores for softmax"
            failures = sorted([*failures, *(RowFailure(row, reason) for row in good)])
            rows, column, _ = finite_rows(block.slice(0, 0), scores)
        array = to_column(scores.apply(column, softmax, back=True), field)
        return StepResult(replace_columns(self.NAME, rows, scores.name, [field], [array], False), failures)


def softmax(scores: Array) -> Array:
    """Scores normalised over the last axis; the greatest is taken off first.

    >>> softmax(np.array([[1.0, 1.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    if scores.size == 0:
        return scores
    wide = scores.astype(np.float32) if scores.dtype == np.float16 else scores
    made: Array = np.exp(wide - wide.max(axis=-1, keepdims=True))
    made /= made.sum(axis=-1, keepdims=True)
    return made.astype(scores.dtype, copy=False)


def are_probabilities(scores: Array) -> Array:
    """bool[rows]: whether all that a row holds on the last axis is none below 0 and sums to 1.

    All are False where the first is: it is asked of scores that most likely are none.
    """
    if len(scores) > 1 and not are_probabilities(scores[:1])[0]:
        return np.zeros(len(scores), bool)
    if scores.size == 0:
        return np.zeros(len(scores), bool)
    tolerance = 4e-3 if scores.dtype == np.float16 else 1e-4
    near = np.abs(scores.sum(axis=-1, dtype=np.float64) - 1) <= tolerance
    found: Array = (near & (scores.min(axis=-1) >= 0)).reshape(len(scores), -1).all(axis=1)
    return found
