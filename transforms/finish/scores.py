"""Where the scores of a column lie: which axis holds the classes, and which rows hold no number there.

column   float32[1000, 1, 1]      float32[21, 64, 64], axis=1      float32[?, 9]
scores   [1000]                   [21, 64, 64]                     [?, 9]
classes   ^^^^                     ^^                                 ^
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import Array, ColumnType, TensorColumn, column_type, ragged_to_arrow, to_arrow
from beamsplit.transforms.columns import check_column, drop_rows, only_column, split_rows, survivors, tensor_rows
from beamsplit.transforms.finish.outputs import is_float, is_scores
from beamsplit.transforms.step import RowFailure

Shape = tuple[int | None, ...]

WANTED = "several float scores a row"

COUNTED = "counted as in the model's output, whose axis 0 holds the rows"


@dataclass(frozen=True)
class Scores:
    """The scores of one column."""

    name: str
    """Of the column."""

    kind: ColumnType
    """Of the column's rows."""

    kept: tuple[int, ...]
    """The axes of a row that are not of size 1."""

    axis: int
    """Which of those holds the classes; 0 where no axis does."""

    @property
    def shape(self) -> Shape:
        """Of a row, without axes of size 1."""
        return tuple(self.kind.shape[axis] for axis in self.kept)

    @property
    def classes(self) -> int | None:
        """How many classes there are; None where that differs from row to row."""
        return self.shape[self.axis]

    @property
    def rest(self) -> Shape:
        """The shape of what is classified: `()` where a row is one thing, `[64, 64]` where it is each pixel."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    def apply(self, column: TensorColumn, of: Callable[[Array], Array], *, back: bool = False) -> Array | list[Array]:
        """Apply a function to the scores, with the classes on the last axis; to all rows of one shape at once.

        Args:
            column: rows of this column, none of them null.
            of: takes `[rows, ..., classes]` and gives as many rows.
            back: whether the last axis of what it gives goes where the classes were.

        Returns:
            `[rows, ...]`; one array a row where shapes vary.
        """
        if column.shapes is None:
            values = column.values.reshape(len(column.values), *(size or 0 for size in self.shape))
            return self._moved(values, of, back)
        rows = split_rows(column)
        shapes, which = np.unique(column.shapes[:, list(self.kept)], axis=0, return_inverse=True)
        made: list[Array] = [column.values[:0]] * len(rows)
        for number, shape in enumerate(shapes.tolist()):
            members = np.flatnonzero(which.reshape(-1) == number).tolist()
            values = np.stack([rows[row].reshape(shape) for row in members])
            for row, result in zip(members, self._moved(values, of, back), strict=True):
                made[row] = result
        return made

    def _moved(self, values: Array, of: Callable[[Array], Array], back: bool) -> Array:
        at = self.axis + 1
        if at >= values.ndim - 1:
            return of(values)
        made = of(np.moveaxis(values, at, -1))
        return np.moveaxis(made, -1, at) if back else made


def find_values(
    step: str,
    schema: pa.Schema,
    column: str | None,
    outputs: Sequence[str] | None,
    fits: Callable[[pa.DataType], bool] = is_float,
    wanted: str = "float scores",
) -> Scores:
    """The column a step works on, each of whose values it takes by itself: no axis holds the classes.

    Raises:
        UsageError: the column is missing or of another type, or there are none or several.
    """
    if column is None:
        column = only_column(step, schema, fits, wanted, outputs)
    else:
        check_column(step, schema, column, fits, wanted)
    kind = column_type(schema.field(column).type)
    assert kind is not None
    return Scores(column, kind, tuple(axis for axis, size in enumerate(kind.shape) if size != 1), 0)


def find_scores(
    step: str, schema: pa.Schema, column: str | None, outputs: Sequence[str] | None, axis: int | None = None
) -> Scores:
    """The column of scores a step works on, and the axis of its classes.

    It is the only axis of more than one value, else the only one of a known size (the others vary: tokens, pixels).

    Args:
        step: its name, for errors.
        schema: of its blocks.
        column: the column named; None takes the only one that fits.
        outputs: the model's output columns; None for any.
        axis: of the classes, where axis 0 holds the rows; negative from the end.

    Raises:
        UsageError: there is no such column, it has one value a row, or several axes might be that of the classes.
    """
    if column is None and not _any(schema, outputs, _has_several) and _any(schema, outputs, is_scores):
        column = only_column(step, schema, is_scores, WANTED, outputs)
    found = find_values(step, schema, column, outputs, is_scores if column is not None else _has_several, WANTED)
    if not found.kept:
        does = {"softmax": "softmax of one value is always 1"}.get(step, f"{step} wants a score for each class")
        raise UsageError(
            f"{does}, and column {found.name!r} holds 1 a row; type threshold:0.5,column={found.name}, "
            "or leave the step out"
        )
    return Scores(found.name, found.kind, found.kept, _axis_of_classes(step, found, axis))


def _any(schema: pa.Schema, outputs: Sequence[str] | None, fits: Callable[[pa.DataType], bool]) -> bool:
    return any(fits(field.type) for field in schema if outputs is None or field.name in outputs)


def _has_several(data_type: pa.DataType) -> bool:
    kind = column_type(data_type)
    return is_scores(data_type) and kind is not None and any(size != 1 for size in kind.shape)


def _axis_of_classes(step: str, found: Scores, axis: int | None) -> int:
    sizes = {number + 1: found.kind.shape[number] for number in found.kept}
    if axis is not None:
        chosen = axis if axis >= 0 else len(found.kind.shape) + 1 + axis
        if chosen not in sizes:
            raise UsageError(
                f"axis={axis} of column {found.name!r} ({found.kind} a row) holds no classes; "
                f"type {_choices(sizes)} ({COUNTED})"
            )
        return list(sizes).index(chosen)
    if len(sizes) == 1:
        return 0
    known = [number for number, size in enumerate(sizes.values()) if size is not None]
    if len(known) == 1:
        return known[0]
    first = next(iter(sizes))
    raise UsageError(
        f"{step} wants to know which axis of column {found.name!r} ({found.kind} a row) holds the classes: "
        f"{_choices(sizes)} ({COUNTED}); type {step}:...,axis={first} or another of them"
    )


def _choices(sizes: dict[int, int | None]) -> str:
    return ", ".join(f"axis={axis} ({'varies' if size is None else size})" for axis, size in sizes.items())


def finite_rows(
    block: pa.RecordBatch, scores: Scores, *, some: bool = False
) -> tuple[pa.RecordBatch, TensorColumn, list[RowFailure]]:
    """(the rows whose scores are all numbers, those scores, the other rows).

    What holds nan or inf is no score: nothing that was made of it could be told from a real one.

    Args:
        block: rows with the column.
        scores: the column.
        some: whether a row without any score fails too.
    """
    rows, column, failures = tensor_rows(block, scores.name)
    reasons = _not_finite(column, scores.name)
    if some and column.shapes is not None:
        empty = np.flatnonzero((column.shapes == 0).any(axis=1)).tolist()
        reasons |= {row: f"no scores in column {scores.name!r}" for row in empty}
    if reasons:
        places = survivors(block.num_rows, failures)
        failures = sorted([*failures, *(RowFailure(int(places[row]), reason) for row, reason in reasons.items())])
        rows, column, _ = tensor_rows(drop_rows(rows, sorted(reasons)), scores.name)
    return rows, column, failures


def _not_finite(column: TensorColumn, name: str) -> dict[int, str]:
    if column.values.dtype.kind != "f":
        return {}
    finite = np.isfinite(column.values)
    if finite.all():
        return {}
    flat = column.values.reshape(-1)
    places = np.flatnonzero(~finite.reshape(-1))
    if column.offsets is not None:
        owners = np.searchsorted(column.offsets, places, side="right") - 1
    else:
        owners = places // (finite.size // len(finite))
    rows, first = np.unique(owners, return_index=True)
    return {
        row: f"{flat[places[at]]} in column {name!r}" for row, at in zip(rows.tolist(), first.tolist(), strict=True)
    }


def to_column(made: Array | list[Array], field: pa.Field) -> pa.Array:
    """What `Scores.apply` gave as a column."""
    return ragged_to_arrow(made, field) if isinstance(made, list) else to_arrow(np.ascontiguousarray(made), field)
