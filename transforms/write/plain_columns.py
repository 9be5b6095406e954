"""Columns in plain types: which Parquet and text hold as they are, and others made of what a format has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import column_type


def is_plain(kind: pa.DataType) -> bool:
    """Whether values are numbers, times, texts, or tensors of numbers."""
    if (pa.types.is_primitive(kind) and not pa.types.is_interval(kind)) or pa.types.is_string(kind):
        return True
    return isinstance(kind, pa.FixedShapeTensorType) and column_type(kind) is not None


def plain_values(column: pa.ExtensionArray) -> pa.Array:
    """The values of an extension type as lists and numbers; tensors in their logical order of axes."""
    if not isinstance(column, pa.FixedShapeTensorArray):
        return column.storage
    shape, storage = list(column.type.shape), column.storage
    size = int(np.prod(shape)) if shape else 1
    values = storage.values.slice(storage.offset * size, len(storage) * size)
    if column.type.permutation is not None and column.type.permutation != sorted(column.type.permutation):
        order = list(column.type.permutation)
        laid_out = values.to_numpy(zero_copy_only=False).reshape([len(storage), *shape])
        moved = laid_out.transpose([0, *(axis + 1 for axis in order)])
        values, shape = pa.array(moved.reshape(-1), values.type), list(moved.shape[1:])
    for width in reversed(shape):
        values = pa.FixedSizeListArray.from_arrays(values, width)
    if storage.null_count and shape:
        values = pa.FixedSizeListArray.from_arrays(values.flatten(), shape[0], mask=storage.is_null())
    return values


def written_type(kind: pa.DataType, single: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The type with single values as `single` says, lists of any kind as lists, tensors as lists in lists, and what
    dictionaries and other extension types stand for.

    >>> written_type(pa.fixed_shape_tensor(pa.float16(), [2, 3]), lambda kind: pa.float32())
    ListType(list<item: list<item: float>>)

    Raises:
        TypeError: a struct has no fields.
    """
    types = pa.types
    if isinstance(kind, pa.FixedShapeTensorType):
        made = written_type(kind.value_type, single)
        for _ in kind.shape:
            made = pa.list_(made)
        return made
    if isinstance(kind, pa.BaseExtensionType):
        return written_type(kind.storage_type, single)
    if types.is_dictionary(kind):
        return written_type(kind.value_type, single)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(written_type(kind.value_type, single))
    if types.is_struct(kind):
        if not kind.num_fields:
            raise TypeError("a struct without fields")
        return pa.struct([pa.field(field.name, written_type(field.type, single)) for field in kind])
    if types.is_map(kind):
        return pa.map_(written_type(kind.key_type, single), written_type(kind.item_type, single))
    return single(kind)


def written_column(
    column: pa.Array, wanted: pa.DataType, single: Callable[[pa.Array, pa.DataType], pa.Array] = pa.Array.cast
) -> pa.Array:
    """The column as what `written_type` gave for its type; `single` makes a column of single values of another type.

    What a null struct or list hides is null or gone within, too, and nested columns are no slices.
    """
    kind, types = column.type, pa.types
    if kind == wanted and not types.is_nested(kind):
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return written_column(plain_values(column), wanted, single)
    if types.is_dictionary(kind):
        return written_column(column.dictionary_decode(), wanted, single)
    if types.is_struct(kind):
        parts = [written_column(part, f.type, single) for part, f in zip(column.flatten(), wanted, strict=True)]
        return pa.StructArray.from_arrays(parts, fields=list(wanted), mask=column.is_null())
    if not types.is_nested(kind):
        return single(column, wanted)
    import pyarrow.compute as pc

    if types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    items, mask = column.flatten(), column.is_null() if column.null_count else None
    if types.is_map(kind):
        keys, values = items.flatten()
        keys, values = written_column(keys, wanted.key_type, single), written_column(values, wanted.item_type, single)
        return pa.MapArray.from_arrays(offsets, keys, values, type=wanted, mask=mask)
    return pa.ListArray.from_arrays(offsets, written_column(items, wanted.value_type, single), type=wanted, mask=mask)
