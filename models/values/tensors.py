"""Arrow columns to numpy arrays and back, without copying where the layout allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError

Array = np.ndarray[Any, Any]

_ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}
_DTYPES: dict[pa.DataType, str] = {arrow: name for name, arrow in _ARROW_TYPES.items()}
_DTYPES[pa.large_string()] = "string"
_DTYPES[pa.string_view()] = "string"

NULL = "null"
NULL_INSIDE = "null inside a list"
RAGGED = "inner lists of unlike length"


def element_types() -> tuple[str, ...]:
    """The names of all types that `numpy_dtype` knows."""
    return tuple(_ARROW_TYPES)


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy type of a `TensorSpec.dtype`; strings are objects.

    Raises:
        UsageError: numpy and Arrow have no such type (`"bfloat16"`).
    """
    if dtype not in _ARROW_TYPES:
        raise UsageError(
            f"a tensor of type {dtype} cannot be read or written: the types are {', '.join(_ARROW_TYPES)}; "
            "export the model with one of them at its inputs and outputs"
        )
    return np.dtype(object) if dtype == "string" else np.dtype(dtype)


@dataclass(frozen=True)
class ColumnType:
    """What one row of an Arrow column holds, seen as a tensor."""

    dtype: str
    """Name of the element type, as in `TensorSpec.dtype`."""

    shape: tuple[int | None, ...]
    """Shape of one row: `()` is a scalar, None a dimension that may differ from row to row."""

    def __str__(self) -> str:
        """E.g. `float32`, `int64[?]`, `uint8[3, 224, 224]`."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]" if self.shape else self.dtype


def column_type(data_type: pa.DataType) -> ColumnType | None:
    """Dtype and shape of the rows of a column; None where they are no tensors (timestamps, structs, bytes, JSON).

    A fixed_shape_tensor has its logical shape, which Arrow's format defines as `shape[permutation[i]]`
    (pyarrow 25's own `to_numpy_ndarray` mixes up the elements where the permutation is not its own inverse).
    """
    shape: list[int | None] = []
    while True:
        if isinstance(data_type, pa.FixedShapeTensorType):
            permutation = data_type.permutation
            if permutation is not None and list(permutation) != sorted(permutation) and shape:
                return None
            shape += [data_type.shape[axis] for axis in permutation or range(len(data_type.shape))]
            data_type = data_type.value_type
        elif isinstance(data_type, pa.JsonType):
            return None
        elif isinstance(data_type, pa.BaseExtensionType):
            data_type = data_type.storage_type
        elif pa.types.is_fixed_size_list(data_type):
            shape.append(data_type.list_size)
            data_type = data_type.value_type
        elif _is_list(data_type):
            shape.append(None)
            data_type = data_type.value_type
        elif pa.types.is_dictionary(data_type):
            data_type = data_type.value_type
        else:
            dtype = _DTYPES.get(data_type)
            return None if dtype is None else ColumnType(dtype, tuple(shape))


def _is_list(data_type: pa.DataType) -> bool:
    return isinstance(data_type, (pa.ListType, pa.LargeListType, pa.ListViewType, pa.LargeListViewType))


@dataclass(frozen=True)
class TensorColumn:
    """An Arrow column as numpy views. Values of rows listed in `bad` are unspecified."""

    values: Array
    """`[rows, *row_shape]` (any strides) where all rows have one shape by type, else all elements in one line."""

    offsets: Array | None
    """int64[rows + 1], where in `values` each row begins; None where the shape is fixed by type."""

    shapes: Array | None
    """int64[rows, depth], the shape of each row; None where the shape is fixed by type."""

    bad: list[tuple[Array, str]] = field(default_factory=list)
    """(row numbers, reason) for rows that are no tensor: nulls, ragged lists. A row may be in several."""

    nulls: Array | None = None
    """bool, of the shape of `values`: which of them are null, and 0 or "" there. None where none is, or rows with
    nulls are bad."""


def unpack(column: pa.Array, to_fill: bool = False) -> TensorColumn:
    """View a column as numpy; slices and nulls are respected, bools unpacked, strings made objects.

    Args:
        column: of a type for which `column_type` gives one.
        to_fill: tell which single values are null, in `nulls`, instead of their rows in `bad`; a null list stays bad.

    Raises:
        UsageError: the column's type is no tensor (`column_type` gives None).
    """
    kind = column_type(column.type)
    if kind is None:
        raise UsageError(f"a column of type {column.type} is no tensor; turn it into numbers, strings or lists of them")
    rows = len(column)
    dims: list[int | Array] = []
    width = 1
    offsets: Array | None = None  # where each row begins among the items of this level; None: at row * width
    bad: list[tuple[Array, str]] = []
    permutation = getattr(column.type, "permutation", None)
    level, nested = column, False
    nulls: Array | None = None
    while True:
        level = _plain(level)
        if level.null_count:
            empty = level.is_null().to_numpy(zero_copy_only=False)
            items = np.flatnonzero(empty)
            if to_fill and not (pa.types.is_fixed_size_list(level.type) or _is_list(level.type)):
                nulls = empty
                break
            bad.append((_rows_of(items, offsets, width), NULL_INSIDE if nested else NULL))
        if pa.types.is_fixed_size_list(level.type):
            size = level.type.list_size
            # A fixed_shape_tensor keeps its shape beside a single flat list.
            dims += column.type.shape if isinstance(column.type, pa.FixedShapeTensorType) else [size]
            level = level.values.slice(level.offset * size, len(level) * size)
            width *= size
            offsets = None if offsets is None else offsets * size
        elif _is_list(level.type):
            begins = np.asarray(level.offsets, dtype=np.int64) if len(level) else np.zeros(1, np.int64)
            lengths = np.diff(begins)
            level = level.values.slice(begins[0], begins[-1] - begins[0])
            begins = begins - begins[0]
            if not nested:
                dims.append(lengths)
                offsets = begins
            else:
                if offsets is None:
                    offsets = np.arange(rows + 1, dtype=np.int64) * width
                first, ragged = _first_lengths(lengths, offsets)
                if ragged.size:
                    bad.append((_rows_of(ragged, offsets, width), RAGGED))
                dims.append(first)
                offsets = begins[offsets]
        else:
            break
        nested = True
    values = _leaf(level, kind.dtype)
    if nulls is not None:
        values = values.copy()
        values[nulls] = "" if kind.dtype == "string" else 0
    if offsets is not None:
        shapes = np.stack([np.broadcast_to(np.asarray(d, np.int64), (rows,)) for d in dims], axis=1)
        return TensorColumn(values, offsets, shapes, bad, nulls)
    shaped = [_shaped(one, rows, dims, permutation) for one in (values, nulls) if one is not None]
    return TensorColumn(shaped[0], None, None, bad, shaped[1] if nulls is not None else None)


def _shaped(values: Array, rows: int, dims: list[int | Array], permutation: list[int] | None) -> Array:
    values = values.reshape(rows, *[int(d) for d in dims])
    return values if permutation is None else values.transpose(0, *[axis + 1 for axis in permutation])


def _plain(array: pa.Array) -> pa.Array:
    """Without extension, dictionary and view wrappers round this level."""
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
            # Views may overlap and lie in any order; rebuilt by hand, as casting the slice of a view fails.
            empty = array.is_null()
            lengths = np.where(empty.to_numpy(zero_copy_only=False), 0, np.asarray(array.sizes))
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
            array = pa.LargeListArray.from_arrays(offsets, array.flatten(), mask=empty)
        else:
            return array


def _rows_of(items: Array, offsets: Array | None, width: int) -> Array:
    """The rows that own these items of a nested level."""
    if offsets is None:
        return np.unique(items // max(width, 1))
    return np.unique(np.searchsorted(offsets, items, side="right") - 1)


def _first_lengths(lengths: Array, offsets: Array) -> tuple[Array, Array]:
    """The length of each row's first inner list (0 where it has none), and the items that differ from it."""
    counts = np.diff(offsets)
    first = np.zeros(len(counts), dtype=np.int64)
    filled = counts > 0
    first[filled] = lengths[offsets[:-1][filled]]
    return first, np.flatnonzero(lengths != np.repeat(first, counts))


def _leaf(array: pa.Array, dtype: str) -> Array:
    """Numbers as a view on the Arrow buffer (what lies under a null is unspecified), strings as objects."""
    if dtype == "string":
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)
    data = array.buffers()[1]
    count, start = len(array), array.offset
    if data is None or count == 0:
        return np.zeros(count, dtype=dtype)
    if dtype == "bool":
        first = start // 8
        packed = np.frombuffer(data, np.uint8)[first : (start + count + 7) // 8]
        bits = np.unpackbits(packed, bitorder="little")
        return bits[start - first * 8 :][:count].view(np.bool_)
    numpy_type = np.dtype(dtype)
    return np.frombuffer(data, numpy_type, count=count, offset=start * numpy_type.itemsize)


def to_numpy(column: pa.Array) -> Array:
    """One array `[rows, *row_shape]` of a column whose rows are all of one shape; a view where possible.

    Raises:
        UsageError: the column's type is no tensor.
        ValueError: a row is null, holds a null, or has another shape than the rest.
    """
    unpacked = unpack(column)
    if unpacked.bad:
        rows, reason = unpacked.bad[0]
        raise ValueError(f"row {rows[0]}: {reason}")
    if unpacked.shapes is None:
        return unpacked.values
    if len(column) == 0:
        return unpacked.values.reshape((0,) * (unpacked.shapes.shape[1] + 1))
    if (unpacked.shapes != unpacked.shapes[0]).any():
        raise ValueError("rows of unlike shapes do not make one array")
    return unpacked.values.reshape(len(column), *unpacked.shapes[0].tolist())


def output_field(name: str, dtype: str, row_shape: tuple[int, ...] | None, ndim: int | None = None) -> pa.Field:
    """The Arrow field of one output tensor.

    Args:
        name: the column's name.
        dtype: as in `TensorSpec.dtype`.
        row_shape: shape of one row, without the rows axis: `()` gives a flat column, other fixed shapes a
            fixed_shape_tensor (strings, which Arrow's tensors exclude: fixed-size lists), and shapes without values
            (a size of 0, which no reader of Parquet takes as fixed) plain lists; None where it varies.
        ndim: depth of the nested lists where `row_shape` is None.

    Raises:
        UsageError: Arrow has no such type.
    """
    numpy_dtype(dtype)
    data_type = _ARROW_TYPES[dtype]
    if row_shape is None:
        if ndim is None:
            raise ValueError("a row shape that varies needs ndim")
        for _ in range(ndim):
            data_type = pa.list_(data_type)
    elif 0 in row_shape:
        for _ in row_shape:
            data_type = pa.list_(data_type)
    elif dtype == "string":
        for size in reversed(row_shape):
            data_type = pa.list_(data_type, size)
    elif row_shape:
        data_type = pa.fixed_shape_tensor(data_type, row_shape)
    return pa.field(name, data_type)


def to_arrow(values: Array, field: pa.Field) -> pa.Array:
    """The column of a field made by `output_field`, from values `[rows, *row_shape]` of any strides.

    Contiguous numbers are not copied: the column points into `values`.

    Raises:
        ValueError: the values' shape is not the field's.
    """
    data_type = field.type
    kind = column_type(data_type)
    row_shape = values.shape[1:]
    if kind is None or not (
        len(kind.shape) == len(row_shape) and all(k in (None, d) for k, d in zip(kind.shape, row_shape, strict=True))
    ):
        raise ValueError(f"values of row shape {list(row_shape)} do not fit column {field.name!r} of type {data_type}")
    if isinstance(data_type, pa.FixedShapeTensorType) and data_type.permutation is not None:
        values = values.transpose(0, *[axis + 1 for axis in np.argsort(data_type.permutation)])
    storage = data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type
    rows = len(values)
    shapes = np.broadcast_to(np.asarray(row_shape, np.int64), (rows, len(row_shape)))
    array = _nest(np.ascontiguousarray(values).reshape(-1), shapes, storage)
    return pa.ExtensionArray.from_storage(data_type, array) if storage is not data_type else array


def ragged_to_arrow(rows: Sequence[Array], field: pa.Field) -> pa.Array:
    """The column of a field made by `output_field` with a shape that varies, from one array a row.

    A row with an empty outer dimension comes back as `[]`: nested lists do not keep its inner sizes.

    Raises:
        ValueError: a row has another number of dimensions than the field, or another size where it is fixed.
    """
    kind = column_type(field.type)
    if kind is None:
        raise ValueError(f"column {field.name!r} of type {field.type} holds no tensors")
    depth = len(kind.shape)
    if any(row.ndim != depth for row in rows):
        raise ValueError(f"rows do not all have the {depth} dimensions of column {field.name!r} of type {field.type}")
    if depth == 0 or None not in kind.shape:
        empty = np.empty((0, *[size or 0 for size in kind.shape]), numpy_dtype(kind.dtype))
        return to_arrow(np.stack(rows) if len(rows) else empty, field)
    shapes = np.array([row.shape for row in rows], dtype=np.int64).reshape(len(rows), depth)
    flat = [row.reshape(-1) for row in rows]
    return _nest(np.concatenate(flat) if flat else np.empty(0, dtype=numpy_dtype(kind.dtype)), shapes, field.type)


def _leaves(flat: Array, data_type: pa.DataType) -> pa.Array:
    """All elements as one flat column, numbers without a copy."""
    if flat.dtype.kind in "iuf" and data_type == pa.from_numpy_dtype(flat.dtype):
        # pa.array would do, but asks whether numpy's values are masked, which imports numpy.ma.
        return pa.Array.from_buffers(data_type, len(flat), [None, pa.py_buffer(np.ascontiguousarray(flat))])
    return pa.array(flat, type=data_type)


def _nest(flat: Array, shapes: Array, data_type: pa.DataType) -> pa.Array:
    """Wrap all elements of all rows in the list levels of `data_type`; shapes is int64[rows, depth]."""
    types: list[pa.DataType] = []
    while pa.types.is_list(data_type) or pa.types.is_fixed_size_list(data_type):
        types.append(data_type)
        data_type = data_type.value_type
    array = _leaves(flat, data_type)
    items = len(shapes)
    # The storage of a fixed_shape_tensor is one flat list, however many dimensions it has.
    if len(types) == 1 and pa.types.is_fixed_size_list(types[0]):
        return pa.Array.from_buffers(types[0], items, [None], children=[array])
    lengths: list[Array] = []
    repeats = np.ones(items, dtype=np.int64)
    for axis in range(len(types)):
        lengths.append(np.repeat(shapes[:, axis], repeats))
        repeats = repeats * shapes[:, axis]
    for list_type, level in zip(reversed(types), reversed(lengths), strict=True):
        if pa.types.is_fixed_size_list(list_type):
            array = pa.Array.from_buffers(list_type, len(level), [None], children=[array])
            continue
        ends = np.zeros(len(level) + 1, dtype=np.int64)
        np.cumsum(level, out=ends[1:])
        if ends[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{ends[-1]} values are too many for one column of a block: use smaller blocks")
        offsets = pa.py_buffer(ends.astype(np.int32))
        array = pa.Array.from_buffers(list_type, len(level), [None, offsets], children=[array])
    return array
