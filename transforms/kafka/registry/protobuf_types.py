"""Messages of Protobuf as Arrow types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from beamsplit.transforms.formats.avro_schema import Unreadable

F = FieldDescriptor

SINGLE: Mapping[int, pa.DataType] = {
    F.TYPE_DOUBLE: pa.float64(),
    F.TYPE_FLOAT: pa.float32(),
    F.TYPE_INT64: pa.int64(),
    F.TYPE_SINT64: pa.int64(),
    F.TYPE_SFIXED64: pa.int64(),
    F.TYPE_UINT64: pa.uint64(),
    F.TYPE_FIXED64: pa.uint64(),
    F.TYPE_INT32: pa.int32(),
    F.TYPE_SINT32: pa.int32(),
    F.TYPE_SFIXED32: pa.int32(),
    F.TYPE_UINT32: pa.uint32(),
    F.TYPE_FIXED32: pa.uint32(),
    F.TYPE_BOOL: pa.bool_(),
    F.TYPE_STRING: pa.string(),
    F.TYPE_BYTES: pa.binary(),
}

WIDTHS: Mapping[int, str] = {
    F.TYPE_DOUBLE: "<f8",
    F.TYPE_FLOAT: "<f4",
    F.TYPE_SFIXED64: "<i8",
    F.TYPE_FIXED64: "<u8",
    F.TYPE_SFIXED32: "<i4",
    F.TYPE_FIXED32: "<u4",
}
"""Types of one width, as they lie in memory; the other numbers have 7 bits a byte."""

CHARACTERS = (F.TYPE_STRING, F.TYPE_BYTES)

ENUM = pa.dictionary(pa.int32(), pa.string())
TIMESTAMP = pa.timestamp("ns", "UTC")

WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
"""Messages that are a value, or null."""


def fields_of(message: Descriptor) -> dict[str, pa.DataType | Unreadable]:
    """What each field is read as, or why it cannot be."""
    found: dict[str, pa.DataType | Unreadable] = {}
    sizes: dict[str, int] = {}
    for field in message.fields:
        try:
            if field.message_type is not None and _written_out(field.message_type, sizes) > MOST_FIELDS:
                name = field.message_type.full_name
                raise Unreadable(
                    f"of the message {name}, which has more than {MOST_FIELDS:,} fields with its messages'"
                )
            found[field.name] = field_type(field, (message.full_name,))
        except Unreadable as why:
            found[field.name] = why
    return found


MOST_FIELDS = 10_000
"""Of a message with those of its messages, each counted wherever it is: messages that hold another twice double."""


def _written_out(message: Descriptor, sizes: dict[str, int]) -> int:
    """How many fields a message has with those of its messages; `sizes` are those known."""
    name = message.full_name
    if name not in sizes:
        sizes[name] = 0  # within itself it is refused
        inner = (0 if one.message_type is None else _written_out(one.message_type, sizes) for one in message.fields)
        sizes[name] = len(message.fields) + sum(inner)
    return sizes[name]


def is_repeated(field: Any) -> bool:
    """Whether a field has any number of values; maps have, too."""
    found = getattr(field, "is_repeated", None)
    return bool(found) if found is not None else field.label == F.LABEL_REPEATED


def is_map(field: Any) -> bool:
    """Whether a field is a map."""
    kind = field.message_type
    return kind is not None and is_repeated(field) and kind.GetOptions().map_entry


def field_type(field: Any, within: tuple[str, ...]) -> pa.DataType:
    """The type of a field of a message that is within these.

    Raises:
        Unreadable: no type holds it.
    """
    if is_map(field):
        key, value = field.message_type.fields_by_number[1], field.message_type.fields_by_number[2]
        return pa.map_(SINGLE[key.type], value_type(value, within))
    kind = value_type(field, within)
    return pa.list_(kind) if is_repeated(field) else kind


def value_type(field: Any, within: tuple[str, ...]) -> pa.DataType:
    """The type of a value of a field.

    Raises:
        Unreadable: no type holds it.
    """
    if field.type in SINGLE:
        return SINGLE[field.type]
    if field.type == F.TYPE_ENUM:
        return ENUM
    if field.type == F.TYPE_GROUP:
        raise Unreadable("a group")
    return message_type(field.message_type, within)


def message_type(message: Descriptor, within: tuple[str, ...] = ()) -> pa.DataType:
    """The type of a message: a struct, but for Google's timestamps and wrappers.

    Raises:
        Unreadable: no type holds it.
    """
    if message.full_name == "google.protobuf.Timestamp":
        return TIMESTAMP
    if message.full_name in WRAPPERS:
        return SINGLE[message.fields_by_number[1].type]
    if message.full_name in within:
        raise Unreadable(f"of the message {message.full_name}, which is part of itself")
    if not message.fields:
        raise Unreadable(f"of the message {message.full_name}, which has no fields")
    inner = (*within, message.full_name)
    return pa.struct([(field.name, field_type(field, inner)) for field in message.fields])


def default_of(field: Any) -> Any:
    """What a single value is where a message has none: None where that can be told from a value."""
    of_map = field.containing_type.GetOptions().map_entry and field.message_type is None
    if field.has_presence and not field.has_default_value and not of_map:
        return None
    if field.type == F.TYPE_ENUM:
        return enum_names(field).get(field.default_value, str(field.default_value))
    return field.default_value


def enum_names(field: Any) -> dict[int, str]:
    """The first name of each number of an enum."""
    names: dict[int, str] = {}
    for value in field.enum_type.values:
        names.setdefault(value.number, value.name)
    return names
