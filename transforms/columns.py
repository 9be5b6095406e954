"""Columns of a block: found, taken as tensors, replaced in place; rows taken out of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.nulls import null_reason
from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import (
    NULL,
    NULL_INSIDE,
    Array,
    TensorColumn,
    output_field,
    ragged_to_arrow,
    to_arrow,
    unpack,
)
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.spec import did_you_mean
from beamsplit.transforms.step import RowFailure


def describe(schema: pa.Schema, names: Iterable[str] | None = None) -> str:
    """E.g. `id: int64, text: string`: the user's columns, for errors."""
    shown = [f"{name}: {schema.field(name).type}" for name in (data_columns(schema) if names is None else names)]
    return ", ".join(shown) or "none"


def check_column(step: str, schema: pa.Schema, column: str, fits: Callable[[pa.DataType], bool], wanted: str) -> None:
    """Check that a column is there once and of a type that the step takes.

    Raises:
        UsageError: it is not; the message names what is wanted, what there is, and the option to type.
    """
    count = schema.names.count(column)
    if count != 1:
        there = "is missing" if count == 0 else f"is there {count} times"
        raise UsageError(
            f"{step} wants column {column!r} ({wanted}), which {there}{did_you_mean(column, data_columns(schema))}; "
            f"the columns are {describe(schema)}; type {step}:...,column=NAME"
        )
    if not fits(schema.field(column).type):
        raise UsageError(
            f"{step} wants {wanted} in column {column!r}, which is of type {schema.field(column).type}; "
            f"the columns are {describe(schema)}; type {step}:...,column=NAME"
        )


def only_column(
    step: str, schema: pa.Schema, fits: Callable[[pa.DataType], bool], wanted: str, among: Iterable[str] | None = None
) -> str:
    """The one column (of `among`, or of all the user's) of a type that the step takes.

    Raises:
        UsageError: there is none, or there are several.
    """
    names = data_columns(schema) if among is None else [name for name in data_columns(schema) if name in set(among)]
    fitting = [name for name in names if fits(schema.field(name).type)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{step} wants one column of {wanted}, and there are {len(fitting)}: {', '.join(fitting)}; "
            f"type {step}:...,column={fitting[0]} or another of them"
        )
    raise UsageError(
        f"{step} wants a column of {wanted}, and there is none: the columns are {describe(schema)}; "
        f"type {step}:...,column=NAME, or keep the column in the step before"
    )


def tensor_field(name: str, dtype: str, shape: Sequence[int | None]) -> pa.Field:
    """A field for tensors of this shape a row: flat, fixed_shape_tensor, or nested lists where a size is None."""
    if None in shape:
        return output_field(name, dtype, None, ndim=len(shape))
    return output_field(name, dtype, tuple(size for size in shape if size is not None))


def _layout(
    step: str, schema: pa.Schema, source: str, fields: Sequence[pa.Field], keep: bool
) -> list[tuple[bool, int]]:
    """Where each column comes from: (is it new, its number among the new or the old ones)."""
    new = [field.name for field in fields]
    for name in new:
        if name != source and name in schema.names:
            raise UsageError(
                f"{step} makes column {name!r}, but the data has a column of that name already: "
                f"{describe(schema)}; type {step}:...,output=NAME to give it another"
            )
    layout = []
    for number, name in enumerate(schema.names):
        if name != source:
            layout.append((False, number))
            continue
        if keep and source not in new:
            layout.append((False, number))
        layout += [(True, i) for i in range(len(fields))]
    return layout


def replace_fields(step: str, schema: pa.Schema, source: str, fields: Sequence[pa.Field], keep: bool) -> pa.Schema:
    """The schema with new fields where `source` was; `source` stays before them if `keep`.

    Raises:
        UsageError: another column has the name of a new one.
    """
    return pa.schema([(fields if new else schema)[i] for new, i in _layout(step, schema, source, fields, keep)])


def replace_columns(
    step: str, block: pa.RecordBatch, source: str, fields: Sequence[pa.Field], arrays: Sequence[pa.Array], keep: bool
) -> pa.RecordBatch:
    """The block with new columns where `source` was, as `replace_fields` lays them."""
    layout = _layout(step, block.schema, source, fields, keep)
    return pa.RecordBatch.from_arrays(
        [arrays[i] if new else block.column(i) for new, i in layout],
        schema=replace_fields(step, block.schema, source, fields, keep),
    )


def drop_rows(block: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    """The block without these rows; the same block where there are none."""
    if not rows:
        return block
    keep = np.ones(block.num_rows, dtype=bool)
    keep[list(rows)] = False
    return block.filter(pa.array(keep))


def survivors(rows: int, failures: Iterable[RowFailure]) -> Array:
    """The positions in a block of `rows` of the rows that did not fail."""
    return np.delete(np.arange(rows), [failure.row for failure in failures])


def failures_of(column: TensorColumn, name: str, can_fill: bool = False) -> list[RowFailure]:
    """The rows that are no tensors, each once, in order; `can_fill`: --nulls would fill single values of theirs."""
    single = column.offsets is None and column.values.ndim == 1
    reasons: dict[int, str] = {}
    for rows, flaw in column.bad:
        can = can_fill and flaw == (NULL if single else NULL_INSIDE)
        reason = null_reason(name, flaw) if can else f"{flaw} in column {name!r}"
        for row in rows.tolist():
            reasons.setdefault(row, reason)
    return [RowFailure(row, reasons[row]) for row in sorted(reasons)]


def tensor_rows(block: pa.RecordBatch, name: str) -> tuple[pa.RecordBatch, TensorColumn, list[RowFailure]]:
    """The rows whose value in a column is a tensor, that column as numpy, and the other rows."""
    column = unpack(block.column(name))
    failures = failures_of(column, name)
    if failures:
        block = drop_rows(block, [failure.row for failure in failures])
        column = unpack(block.column(name))
    return block, column, failures


def lists_with(column: pa.Array, marked: Array) -> Array:
    """bool[rows], true for each list that holds a marked element.

    >>> lists_with(pa.array([[1, 2], None, [3]]), np.array([False, False, True])).tolist()
    [False, False, True]

    Args:
        column: lists.
        marked: bool, of the elements as `column.flatten()` has them.
    """
    import pyarrow.compute as pc

    owners = np.repeat(np.arange(len(column)), np.asarray(pc.list_value_length(column).fill_null(0)))
    found = np.zeros(len(column), dtype=bool)
    found[owners[marked]] = True
    return found


def null_failures(column: pa.Array, name: str, can_fill: bool = False) -> list[RowFailure]:
    """The rows of a column that are null; `can_fill`: they are the input's, which --nulls would fill."""
    if not column.null_count:
        return []
    reason = null_reason(name) if can_fill else f"null in column {name!r}"
    return [RowFailure(row, reason) for row in np.flatnonzero(column.is_null()).tolist()]


def pack(column: TensorColumn, values: Array, field: pa.Field) -> pa.Array:
    """The column of `field` with other values in the shapes of `column`."""
    if column.offsets is None or column.shapes is None:
        return to_arrow(values, field)
    return ragged_to_arrow(split_rows(column, values), field)


def split_rows(column: TensorColumn, values: Array | None = None) -> list[Array]:
    """One array a row, in its own shape, of a column whose shapes vary."""
    values = column.values if values is None else values
    if column.offsets is None or column.shapes is None:
        return list(values)
    return [
        values[start:stop].reshape(shape)
        for start, stop, shape in zip(column.offsets[:-1], column.offsets[1:], column.shapes.tolist(), strict=True)
    ]
