"""Predictions as the columns of a Lance dataset, in which vectors keep their size and numbers their width."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.write.plain_columns import written_type


def lance_schema(schema: pa.Schema, what: str) -> pa.Schema:
    """The columns of a dataset that is made of blocks.

    Args:
        schema: of the blocks; internal columns are left out.
        what: is written, for errors: `"--output lance:preds"`.

    Raises:
        UsageError: a column has a type that Lance has not.
    """
    fields = []
    for name in data_columns(schema):
        try:
            fields.append(pa.field(name, lance_type(schema.field(name).type)))
        except TypeError as error:
            raise UsageError(
                f"{what}: a dataset cannot hold the column {name!r} of type {schema.field(name).type} ({error}); leave "
                "it out of --keep, or convert it with --prepare module:function"
            ) from None
    return pa.schema(fields)


def lance_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column: tensors of one axis are vectors, others lists in lists.

    >>> lance_type(pa.fixed_shape_tensor(pa.float16(), [384])), lance_type(pa.fixed_shape_tensor(pa.float32(), [2, 3]))
    (FixedSizeListType(fixed_size_list<item: halffloat>[384]), ListType(list<item: list<item: float>>))

    Raises:
        TypeError: there is none.
    """
    if isinstance(kind, pa.FixedShapeTensorType) and len(kind.shape) == 1 and kind.shape[0]:
        return pa.list_(_single(kind.value_type), kind.shape[0])
    if pa.types.is_fixed_size_list(kind) and not pa.types.is_nested(kind.value_type) and kind.list_size:
        return pa.list_(_single(kind.value_type), kind.list_size)
    return written_type(kind, _single)


def _single(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_date(kind):
        return pa.date32()
    known = (
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_timestamp,
        types.is_time,
        types.is_duration,
    )
    if any(is_one(kind) for is_one in known) or kind in (pa.string(), pa.binary()) or types.is_decimal128(kind):
        return kind
    raise TypeError(f"Lance has no {kind}")
