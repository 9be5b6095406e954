"""Columns of Python's own values, and of numpy's: a value that a type does not hold is that row's error. No Beam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import Array, column_type, output_field, ragged_to_arrow, to_arrow


def column_of_values(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """(the column, position -> why a value is none of its type); None is null.

    >>> column, wrong = column_of_values([1, "x", None], pa.int64())
    >>> column.to_pylist(), sorted(wrong)
    ([1, None, None], [1])
    """
    try:
        return _column(values, kind), {}
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    good: list[Any] = list(values)
    wrong: dict[int, str] = {}
    for position, value in enumerate(values):
        try:
            _column([value], kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            wrong[position] = f"{_shown(value)} is no {kind}"
            good[position] = None
    return _column(good, kind), wrong


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's own type may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensors(values, kind)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    first = next((value for value in values if value is not None), None)
    if isinstance(first, np.ndarray) and first.ndim != 1:
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    if pa.types.is_integer(_inmost(kind)):
        # Told an integer type, Arrow cuts the fractions off; what it finds itself it casts only where nothing is lost.
        found = _found(values)
        if found is not None and pa.types.is_floating(_inmost(found.type)):
            return found.cast(kind)
        if found is None and any(isinstance(one, float | np.floating) and one != int(one) for one in values):
            raise ValueError
    return pa.array(values, kind)


def _found(values: Sequence[Any]) -> pa.Array | None:
    """The values as Arrow takes them; None where they are of more than one type, or larger than an int64."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return None


def _inmost(kind: pa.DataType) -> pa.DataType:
    """The type of a list's items, of a list of lists' too."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _tensors(values: Sequence[Any], kind: pa.FixedShapeTensorType) -> pa.Array:
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    shape = tuple(kind.shape)
    made = np.zeros((len(values), *shape), dtype)
    missing = []
    for position, value in enumerate(values):
        if value is None:
            missing.append(position)
            continue
        one = np.asarray(value)
        if one.shape != shape or not np.can_cast(one.dtype, dtype, "same_kind"):
            raise ValueError
        made[position] = one
    column = to_arrow(made, pa.field("", kind))
    if missing:
        column = column.take(pa.array([None if row in missing else row for row in range(len(values))], pa.int64()))
    return column


def column_of_array(values: Array, varying: bool = False) -> pa.Array:
    """The column of an array whose first axis carries the rows; numbers are not copied.

    Args:
        values: `[rows, ...]`; of objects (texts, or arrays of unlike shapes) `[rows]`.
        varying: as lists, for rows whose shape is another in other arrays.

    Raises:
        pa.ArrowException: what objects hold has no type.
    """
    if values.dtype.kind == "O" and values.ndim == 1:
        return _objects(values)
    if values.ndim == 1 and values.dtype.kind in "US":
        return pa.array(values.tolist())
    if values.dtype.kind not in "biuf":
        return pa.array(values if values.ndim == 1 else values.tolist())
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    shape = None if varying and values.ndim > 1 else values.shape[1:]
    field = output_field("", values.dtype.name, shape, ndim=values.ndim - 1)
    return to_arrow(values, field)


def _objects(values: Array) -> pa.Array:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, np.ndarray):
        kinds = {(value.dtype, value.ndim) for value in values if isinstance(value, np.ndarray)}
        others = [value for value in values if not isinstance(value, np.ndarray)]
        if len(kinds) == 1 and first.dtype.kind in "biuf" and all(one is None for one in others):
            if not others:
                return ragged_to_arrow(list(values), output_field("", first.dtype.name, None, ndim=first.ndim))
            kind: pa.DataType = pa.from_numpy_dtype(first.dtype)
            for _ in range(first.ndim):
                kind = pa.list_(kind)
            return pa.array([None if value is None else value.tolist() for value in values], kind)
        return pa.array([value.tolist() if isinstance(value, np.ndarray) else value for value in values])
    return pa.array(values.tolist())


def array_of_column(column: pa.Array) -> Array:
    """The column as numpy: `[rows, ...]`, or `[rows]` of objects where the rows have unlike shapes or no type.

    >>> array_of_column(pa.array([[1.0, 2.0], [3.0]])).shape
    (2,)
    """
    from beamsplit.models.values.tensors import unpack
    from beamsplit.transforms.columns import split_rows

    kind = column_type(column.type)
    if kind is None or column.null_count or kind.dtype == "string":
        return _plain(column)
    unpacked = unpack(column)
    if unpacked.bad:
        return _plain(column)
    if unpacked.shapes is None:
        return unpacked.values
    if len(column) and not (unpacked.shapes != unpacked.shapes[0]).any():
        return unpacked.values.reshape(len(column), *unpacked.shapes[0].tolist())
    made = np.empty(len(column), dtype=object)
    made[:] = [np.array(row) for row in split_rows(unpacked)] if len(column) else []
    return made


def _plain(column: pa.Array) -> Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column_type(column.type)
    if kind is not None and kind.dtype == "string" and kind.shape and None not in kind.shape and not column.null_count:
        return np.array(column.to_pylist(), dtype=object).reshape(len(column), *kind.shape)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def python_values(column: pa.Array) -> list[Any]:
    """A value a row, of Python's own types: tensors as nested lists.

    >>> python_values(column_of_array(np.zeros((1, 2, 1))))
    [[[0.0], [0.0]]]
    """
    if isinstance(column, pa.FixedShapeTensorArray) and not column.null_count:
        return list(array_of_column(column).tolist())
    return list(column.to_pylist())


def block_of_rows(columns: Sequence[Sequence[Any]], schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """(rows given by their columns' values as a block, position -> why a row's values are none of the types).

    The values of such rows are null where they are wrong.

    >>> block_of_rows([[1, 2], ["a", 3]], pa.schema({"i": pa.int64(), "s": pa.string()}))[1]
    {1: "column 's': 3 is no string"}
    """
    arrays, wrong = [], dict[int, str]()
    for field, values in zip(schema, columns, strict=True):
        array, unfit = column_of_values(values, field.type)
        arrays.append(array)
        for row, reason in unfit.items():
            wrong.setdefault(row, f"column {field.name!r}: {reason}")
    return pa.RecordBatch.from_arrays(arrays, schema=schema), wrong
