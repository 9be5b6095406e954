"""Scores to the best few classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
from transforms.finish.labels import load_labels, to_labels, unlabelled
from transforms.finish.outputs import TOP_K, VALUES, is_scores, resolve
from transforms.spec import SpecStep, boolean, option, text, whole
from transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class TopK(SpecStep):
    """Column of scores -> `<column>_top_k` with the classes of the k greatest, best first, and `<column>_top_k_values`.

    It goes over the last axis. Of equal scores the first wins; not-a-number counts as the least.
    """

    NAME: ClassVar[str] = "top_k"
    SUMMARY: ClassVar[str] = "the best k classes and their scores"
    EXAMPLE: ClassVar[str] = "top_k:5,labels=labels.txt"

    k: int = option(whole(1), positional=True)
    """How many."""

    column: str = option(text, None)
    """The column of scores, which it replaces; by default the only float output."""

    labels: str = option(text, None)
    """File with the classes' names, as for the step `labels`; without it they are numbers."""

    output: str = option(text, None)
    """The column with the classes, if not `<column>_top_k`; `_values` is added for the scores."""

    keep: bool = option(boolean, False)
    """Whether all the scores stay."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    names: tuple[str | None, ...] | None = field(default=None, init=False)
    """What the file holds."""

    def __post_init__(self) -> None:
        """Read the labels, so that they travel with the step."""
        if self.labels is not None:
            object.__setattr__(self, "names", load_labels(self.labels))

    def _plan(self, schema: pa.Schema) -> tuple[str, ColumnType, list[pa.Field]]:
        name, kind = resolve(self.NAME, schema, self.column, self.outputs, is_scores, "several float scores a row")
        classes = kind.shape[-1]
        if classes is not None and self.k > classes:
            raise UsageError(f"top_k wants {self.k} of the {classes} scores of column {name!r}; type top_k:{classes}")
        if self.names is not None and classes is not None and len(self.names) < classes:
            raise UsageError(
                f"{self.labels} holds {len(self.names)} labels, and column {name!r} has {classes} classes; "
                "give a file with one label a class"
            )
        output = self.output or name + TOP_K
        shape = (*kind.shape[:-1], None if None in kind.shape else self.k)
        labelled = "int64" if self.names is None else "string"
        return name, kind, [tensor_field(output, labelled, shape), tensor_field(output + VALUES, kind.dtype, shape)]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Classes and scores in place of all scores.

        Raises:
            UsageError: the column is missing, holds no lists of floats, or has fewer than k classes.
        """
        name, _, fields = self._plan(schema)
        return replace_fields(self.NAME, schema, name, fields, self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Find the best of the whole column at once; null rows fail. Rows of fewer than k scores give them all."""
        name, _, fields = self._plan(block.schema)
        rows, column, failures = tensor_rows(block, name)
        if column.shapes is None:
            best, values = top_k(column.values, self.k)
            indices: list[np.ndarray] | np.ndarray = best
            scores = to_arrow(values, fields[1])
        else:
            pairs = [top_k(row, self.k) for row in split_rows(column)]
            indices = [pair[0] for pair in pairs]
            scores = ragged_to_arrow([pair[1] for pair in pairs], fields[1])
        if self.names is not None:
            unknown = [row for row, found in enumerate(indices) if unlabelled(found, self.names).any()]
            if unknown:
                places = survivors(block.num_rows, failures)
                reason = f"one of its best {self.k} classes has no label in {self.labels}"
                failures += [RowFailure(int(places[row]), reason) for row in unknown]
                failures.sort()
                return StepResult(self(drop_rows(block, [failure.row for failure in failures])).block, failures)
            indices = [to_labels(row, self.names) for row in indices]
            classes = ragged_to_arrow(indices, fields[0])
        elif isinstance(indices, list):
            classes = ragged_to_arrow(indices, fields[0])
        else:
            classes = to_arrow(indices, fields[0])
        return StepResult(replace_columns(self.NAME, rows, name, fields, [classes, scores], self.keep), failures)


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 places, values) of the k greatest over the last axis, greatest first; of equals the first.

    >>> top_k(np.array([1.0, 3.0, 3.0]), 2)[0].tolist()
    [1, 2]
    """
    classes = scores.shape[-1]
    k = min(k, classes)
    flat = scores.reshape(math.prod(scores.shape[:-1]), classes)
    order = -np.where(np.isnan(flat), -np.inf, flat)
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
