"""Views and run-end encoding, as columns that every step, model input and writer takes; values stay the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema in plain types; the same one where it is so already."""
    plain = pa.schema([_plain_field(field) for field in schema])
    return schema if plain == schema else plain


def plain_type(kind: pa.DataType) -> pa.DataType:
    """What a column of a type is read as.

        string_view, binary_view           large_string, large_binary: a view may hold more than 2 GB
        list_view, large_list_view         large_list
        run_end_encoded                    its values

    Types inside lists, structs, maps and dictionaries too; all others are as they are.
    """
    types = pa.types
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return kind
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if types.is_dictionary(kind):
        value = plain_type(kind.value_type)
        return kind if value == kind.value_type else pa.dictionary(kind.index_type, value, kind.ordered)
    if types.is_struct(kind):
        made: pa.DataType = pa.struct([_plain_field(field) for field in kind])
    elif types.is_map(kind):
        made = pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field), kind.keys_sorted)
    elif types.is_list(kind):
        made = pa.list_(_plain_field(kind.value_field))
    elif types.is_large_list(kind):
        made = pa.large_list(_plain_field(kind.value_field))
    elif types.is_fixed_size_list(kind):
        made = pa.list_(_plain_field(kind.value_field), kind.list_size)
    else:
        return kind
    return kind if made == kind else made


def _plain_field(field: pa.Field) -> pa.Field:
    kind = plain_type(field.type)
    return field if kind == field.type else field.with_type(kind)


def plain_array(column: pa.Array) -> pa.Array:
    """The column in the plain type; the same one where it has that already."""
    kind, types = column.type, pa.types
    made = plain_type(kind)
    if made is kind:
        return column
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return column.cast(made)
    if types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return plain_array(pc.run_end_decode(column))
    if types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(column.indices, plain_array(column.dictionary), ordered=kind.ordered)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        lists = list_of_views(column)
        return pa.LargeListArray.from_arrays(
            lists.offsets, plain_array(lists.values), type=made, mask=column.is_null() if column.null_count else None
        )
    if types.is_struct(kind):
        children = [plain_array(column.field(at)) for at in range(kind.num_fields)]
        return pa.StructArray.from_arrays(
            children, fields=list(made), mask=column.is_null() if column.null_count else None
        )
    own = column.buffers()[: 1 if types.is_fixed_size_list(kind) else 2]
    return pa.Array.from_buffers(made, len(column), own, offset=column.offset, children=[plain_array(column.values)])


def list_of_views(column: pa.Array) -> pa.Array:
    """A column of list views as large lists without nulls: views may overlap and lie in any order."""
    empty = column.is_null().to_numpy(zero_copy_only=False)
    lengths = np.where(empty, 0, np.asarray(column.sizes))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, column.flatten())
