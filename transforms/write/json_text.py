"""Arrow columns as JSON text, column by column: no row passes through Python but those that hold odd characters."""

from __future__ import annotations

import base64
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.write.float_text import float_text, list_text
from beamsplit.transforms.write.plain_columns import plain_values

_ODD = r'["\\\x00-\x1f]'


def json_lines(block: pa.RecordBatch) -> pa.Buffer:
    """One JSON object a row, each with a line feed at its end."""
    return _bytes_of(json_objects(block, "\n")) if block.num_rows else pa.py_buffer(b"")


def json_objects(block: pa.RecordBatch, end: str = "") -> pa.Array:
    """One JSON object a row (strings), each with `end` behind it."""
    if not block.num_columns:
        return pa.array(["{}" + end] * block.num_rows, pa.string())
    pieces: list[pa.Array | pa.Scalar] = []
    for index, (name, column) in enumerate(zip(block.schema.names, block.columns, strict=True)):
        key = json.dumps(name, ensure_ascii=False)
        pieces.append(_text(f"{',' if index else '{'}{key}:"))
        pieces.append(_or_null(json_text(column)))
    return pc.binary_join_element_wise(*pieces, _text("}" + end), _text(""))


def json_text(column: pa.Array, nan_as_text: bool = False) -> pa.Array:
    """Each value as JSON text (strings); null where the value is null.

    Numbers are the shortest that read back the same; JSON has no NaN or infinity, so both become null, or the texts
    "NaN", "Infinity" and "-Infinity". Times are ISO 8601, durations a number in their own unit, binary is base64, a
    fixed-shape tensor is nested lists, and what is JSON already stays as it is.
    """
    type_ = column.type
    types = pa.types
    if isinstance(type_, pa.JsonType):
        return column.storage.cast(pa.string())
    if isinstance(column, pa.ExtensionArray):
        return json_text(plain_values(column), nan_as_text)
    if types.is_dictionary(type_):
        return json_text(column.dictionary_decode(), nan_as_text)
    if types.is_null(type_):
        return pa.nulls(len(column), pa.string())
    if types.is_boolean(type_) or types.is_integer(type_) or types.is_decimal(type_):
        return column.cast(pa.string())
    if types.is_floating(type_):
        return _floats(column, nan_as_text)
    if types.is_duration(type_):
        return column.cast(pa.int64()).cast(pa.string())
    if types.is_temporal(type_):
        return _quoted(pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1))
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return _strings(column.cast(pa.string()))
    if is_binary(type_):
        return _quoted(base64_text(column))
    if types.is_map(type_) or types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return _lists(column, nan_as_text)
    if types.is_struct(type_):
        return _structs(column, nan_as_text)
    raise TypeError(f"no JSON for a column of type {type_}")


def is_binary(type_: pa.DataType) -> bool:
    """Whether values are bytes."""
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(is_kind(type_) for is_kind in kinds)


def base64_text(column: pa.Array) -> pa.Array:
    """Binary values as base64 (strings)."""
    return pa.array([None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()], pa.string())


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.string())


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(_text('"'), texts, _text('"'), _text(""))


def _or_null(texts: pa.Array) -> pa.Array:
    return texts.fill_null("null") if texts.null_count else texts


def _floats(column: pa.Array, nan_as_text: bool) -> pa.Array:
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    finite = pc.is_finite(column)
    texts = float_text(column)
    if pc.all(finite).as_py():
        return texts
    if not nan_as_text:
        return pc.if_else(finite, texts, pa.scalar(None, pa.string()))
    infinite = pc.if_else(pc.greater(column, 0), _text('"Infinity"'), _text('"-Infinity"'))
    return pc.if_else(finite, texts, pc.if_else(pc.is_nan(column), _text('"NaN"'), infinite))


def _strings(column: pa.Array) -> pa.Array:
    odd = pc.match_substring_regex(column, _ODD)
    quoted = _quoted(column)
    if not pc.any(odd).as_py():
        return quoted
    escaped = [json.dumps(value, ensure_ascii=False) for value in column.filter(odd).to_pylist()]
    return pc.replace_with_mask(quoted, odd.fill_null(False), pa.array(escaped, pa.string()))


def _lists(column: pa.Array, nan_as_text: bool) -> pa.Array:
    """Text of the items, joined within each list."""
    rows = len(column)
    if pa.types.is_map(column.type):
        column = column.cast(pa.list_(pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])))
    if (table := _table(column)) is not None and (texts := list_text(table)) is not None:
        return texts
    lengths = pc.list_value_length(column)
    items = _or_null(json_text(column.flatten(), nan_as_text))
    counts = np.asarray(lengths.fill_null(0)) if rows else np.zeros(0, np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), items), _text(","))
    texts = pc.binary_join_element_wise(_text("["), joined, _text("]"), _text(""))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string())) if column.null_count else texts


def _table(column: pa.Array) -> np.ndarray | None:
    """Lists of as many numbers each as [rows, numbers]; None where they are others, or hold nulls."""
    kind = column.type
    if not (
        pa.types.is_fixed_size_list(kind)
        and (pa.types.is_float32(kind.value_type) or pa.types.is_float64(kind.value_type))
    ):
        return None
    values = column.flatten()
    if column.null_count or values.null_count or not kind.list_size:
        return None
    table: np.ndarray = values.to_numpy().reshape(len(column), kind.list_size)
    return table


def _structs(column: pa.StructArray, nan_as_text: bool) -> pa.Array:
    pieces: list[pa.Array | pa.Scalar] = []
    for index, (field, values) in enumerate(zip(column.type, column.flatten(), strict=True)):
        pieces.append(_text(f"{',' if index else '{'}{json.dumps(field.name, ensure_ascii=False)}:"))
        pieces.append(_or_null(json_text(values, nan_as_text)))
    if not pieces:
        texts = pa.array(["{}"] * len(column), pa.string())
    else:
        texts = pc.binary_join_element_wise(*pieces, _text("}"), _text(""))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string())) if column.null_count else texts


def _bytes_of(texts: pa.Array) -> pa.Buffer:
    """The texts one after the other, as they lie in memory."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[texts.offset]), int(ends[texts.offset + len(texts)])
    return data.slice(first, last - first)
