"""Scores to the best few classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import ClassNames, Names
from beamsplit.transforms.columns import drop_rows, replace_columns, replace_fields, survivors, tensor_field
from beamsplit.transforms.finish.labels import dtype_of, load_labels, to_labels, unlabelled
from beamsplit.transforms.finish.outputs import TOP_K, VALUES
from beamsplit.transforms.finish.scores import Scores, find_scores, finite_rows, to_column
from beamsplit.transforms.spec import SpecStep, boolean, integer, option, text, whole
from beamsplit.transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class TopK(SpecStep):
    """Column of scores -> `<column>_top_k` with the classes of the k greatest, best first, and `<column>_top_k_values`.

    It goes over the axis of the classes, which is the last of both. Classes are names where a file or the model tells
    them, else int64 places. Of equal scores the first wins.
    """

    NAME: ClassVar[str] = "top_k"
    SUMMARY: ClassVar[str] = "the best k classes and their scores"
    EXAMPLE: ClassVar[str] = "top_k:5,labels=labels.txt"

    k: int = option(whole(1), positional=True)
    """How many."""

    column: str = option(text, None)
    """The column of scores, which it replaces; by default the only float output."""

    axis: int = option(integer, None)
    """Of the classes, where axis 0 holds the rows; by default the only one it can be."""

    labels: str = option(text, None)
    """File with the classes' names, as for the step `labels`; by default those that the model tells."""

    output: str = option(text, None)
    """The column with the classes, if not `<column>_top_k`; `_values` is added for the scores."""

    keep: bool = option(boolean, False)
    """Whether all the scores stay."""

    numbers: bool = option(boolean, False)
    """Whether classes are numbers even where the model tells their names."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    classes: ClassNames | None = None
    """What the model tells of its classes."""

    names: tuple[str | None, ...] | None = field(default=None, init=False)
    """What the file holds."""

    def __post_init__(self) -> None:
        """Read the labels, so that they travel with the step."""
        if self.labels is not None:
            object.__setattr__(self, "names", load_labels(self.labels))

    def _plan(self, schema: pa.Schema) -> tuple[Scores, list[pa.Field], Names | tuple[str | None, ...] | None]:
        scores = find_scores(self.NAME, schema, self.column, self.outputs, self.axis)
        name, classes = scores.name, scores.classes
        if classes is not None and self.k > classes:
            raise UsageError(f"top_k wants {self.k} of the {classes} scores of column {name!r}; type top_k:{classes}")
        if self.names is not None and classes is not None and len(self.names) < classes:
            raise UsageError(
                f"{self.labels} holds {len(self.names)} labels, and column {name!r} has {classes} classes; "
                "give a file with one label a class"
            )
        names: Names | tuple[str | None, ...] | None = self.names
        if names is None and self.classes is not None and not self.numbers:
            names = self.classes.of(name, classes)
        output = self.output or name + TOP_K
        shape = (*scores.rest, None if None in scores.shape else self.k)
        return (
            scores,
            [tensor_field(output, dtype_of(names), shape), tensor_field(output + VALUES, scores.kind.dtype, shape)],
            names,
        )

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Classes and scores in place of all scores.

        Raises:
            UsageError: the column is missing, holds no lists of floats or fewer than k, or wants an `axis=`.
        """
        scores, fields, _ = self._plan(schema)
        return replace_fields(self.NAME, schema, scores.name, fields, self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Find the best of the whole column at once; rows that are null, nan or inf fail.

        Rows of fewer than k scores give them all.
        """
        scores, fields, names = self._plan(block.schema)
        rows, column, failures = finite_rows(block, scores)
        found = scores.apply(column, lambda values: np.stack(top_k(values, self.k), axis=-2, dtype=np.float64))
        dense = isinstance(found, np.ndarray)
        parts = [found] if isinstance(found, np.ndarray) else found
        # Places below 2**53 and scores of up to 64 bits pass through float64 as they are.
        places = [row[..., 0, :].astype(np.int64) for row in parts]
        values = [row[..., 1, :].astype(scores.kind.dtype) for row in parts]
        if names is not None:
            lacking = [unlabelled(row, names) for row in places]
            axes = tuple(range(1, lacking[0].ndim)) if dense else ()
            without = lacking[0].any(axis=axes) if dense else np.array([*map(np.any, lacking)], bool)
            unknown = np.flatnonzero(without).tolist()
            if unknown:
                kept = survivors(block.num_rows, failures)
                reason = f"one of its best {self.k} classes has no label in {self.labels}"
                failures = sorted([*failures, *(RowFailure(int(kept[row]), reason) for row in unknown)])
                return StepResult(self(drop_rows(block, [failure.row for failure in failures])).block, failures)
            places = [to_labels(row, names) for row in places]
        classes = to_column(places[0] if dense else places, fields[0])
        made = [classes, to_column(values[0] if dense else values, fields[1])]
        return StepResult(replace_columns(self.NAME, rows, scores.name, fields, made, self.keep), failures)


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 places, values) of the k greatest over the last axis, greatest first; of equals the first. No nan.

    >>> top_k(np.array([1.0, 3.0, 3.0]), 2)[0].tolist()
    [1, 2]
    """
    classes = scores.shape[-1]
    k = min(k, classes)
    flat = scores.reshape(math.prod(scores.shape[:-1]), classes)
    order = -flat
    if k * 4 >= classes:
        best = np.argsort(order, axis=-1, kind="stable")[:, :k]
    else:
        best = np.sort(np.argpartition(order, k - 1, axis=-1)[:, :k], axis=-1)
        taken = np.take_along_axis(order, best, axis=-1)
        best = np.take_along_axis(best, np.argsort(taken, axis=-1, kind="stable"), axis=-1)
        # Where scores equal to the last one taken were left out, it is chance which of them were taken.
        tied = np.flatnonzero((order <= taken.max(axis=-1, keepdims=True)).sum(axis=-1) > k)
        if tied.size:
            best[tied] = np.argsort(order[tied], axis=-1, kind="stable")[:, :k]
    values = np.take_along_axis(flat, best, axis=-1)
    shape = (*scores.shape[:-1], k)
    return best.astype(np.int64).reshape(shape), values.reshape(shape)
