"""Fields of the writer's schema made into those of the reader's: Avro's rules of schema resolution, by column.

writer   id: int       name: string        old: double
reader   id: long      title: string       note: string = "-"        (title has the alias name)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.formats.avro_schema import AvroType, Unreadable, avro_fields, column_of

_WIDENED = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}
"""A writer's type and a reader's that it becomes."""


class Mismatch(ValueError):
    """A type of the writer, or a value of it, does not become the reader's; says why."""


def writers_field(field: Mapping[str, Any], writer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The field of the writer's record that becomes one of the reader's, by its name or an alias; None for its default.

    Raises:
        Mismatch: there is none, and no default.
    """
    theirs = {one["name"]: one for one in writer["fields"]}
    for name in (field["name"], *field.get("aliases", ())):
        if name in theirs:
            return theirs[name]
    if "default" not in field:
        raise Mismatch(f"it has no field {field['name']!r}, and the schema that is read by has no default for it")
    return None


def convert(column: pa.Array, writer: Any, reader: Any, wanted: pa.DataType) -> pa.Array:
    """A column of the writer's type as one of the reader's.

    Args:
        column: values.
        writer: their type, as Avro's JSON.
        reader: the type that is wanted, as Avro's JSON.
        wanted: the same, as Arrow's.

    Raises:
        Mismatch: the types, or a value, do not go together.
    """
    if writer == reader:
        return column
    if _takes_null(writer) and not _takes_null(reader) and column.null_count:
        raise Mismatch("a null, which the schema that is read by does not take")
    writer, reader = _value_type(writer), _value_type(reader)
    if writer == reader or writer == "null":
        return column if column.type == wanted else column.cast(wanted)
    kinds = kind_name(writer), kind_name(reader)
    if kinds == ("record", "record"):
        return _struct(column, writer, reader, wanted)
    if kinds == ("array", "array"):
        items = convert(column.flatten(), writer["items"], reader["items"], wanted.value_type)
        return pa.ListArray.from_arrays(_offsets(column), items, type=wanted, mask=_mask(column))
    if kinds == ("map", "map"):
        plain = column.cast(pa.list_(pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])))
        keys, values = plain.flatten().flatten()
        values = convert(values, writer["values"], reader["values"], wanted.item_type)
        return pa.MapArray.from_arrays(_offsets(plain), keys, values, type=wanted, mask=_mask(column))
    if kinds == ("enum", "enum"):
        return _symbols(column, reader)
    if kinds == ("fixed", "fixed") and writer["size"] != reader["size"]:
        raise Mismatch(f"it has {writer['size']} bytes, and {reader['size']} are read")
    if kinds[0] != kinds[1] and kinds not in _WIDENED:
        raise Mismatch(f"it is {_told(writer)}, of which no {_told(reader)} can be made")
    return _single(column, wanted, writer, reader)


def default_column(tree: Any, default: Any, count: int) -> pa.Array:
    """A column of a field's default."""
    found = avro_fields({"type": "record", "name": "_", "fields": [{"name": "_", "type": tree}]})["_"]
    if not isinstance(found, AvroType):
        raise Unreadable(str(found))
    try:
        one = column_of(pa.array([_plain(tree, default)], found.wire), found.arrow)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, LookupError) as error:
        raise Mismatch(f"its default {default!r} is no {_told(tree)}") from error
    return one.take(pa.array(np.zeros(count, np.int64)))


def _plain(tree: Any, value: Any) -> Any:
    """A default, which is JSON, as the value that is decoded for it."""
    if value is None:
        return None
    if isinstance(tree, list):
        return _plain(_value_type(tree), value)
    kind = kind_name(tree)
    if kind == "string":
        return value.encode()
    if kind in ("bytes", "fixed"):
        return value.encode("latin-1")
    if kind == "array":
        return [_plain(tree["items"], one) for one in value]
    if kind == "map":
        return [(key, _plain(tree["values"], one)) for key, one in value.items()]
    if kind == "record":
        return {
            field["name"]: _plain(field["type"], value[field["name"]] if field["name"] in value else field["default"])
            for field in tree["fields"]
        }
    return value


def _takes_null(tree: Any) -> bool:
    return tree == "null" or (isinstance(tree, list) and "null" in tree)


_NUMBERS = ("int", "long", "float", "double")


def _value_type(tree: Any) -> Any:
    """Of a union the type that holds all its values but null; another as it is."""
    if not isinstance(tree, list):
        return _bare(tree)
    others = [one for one in tree if one != "null"]
    if not others:
        return "null"
    if len(others) == 1:
        return _bare(others[0])
    if all(one in _NUMBERS for one in others):
        return "long" if {*others} <= {"int", "long"} else "double"
    raise Mismatch("it is a union of several types")


def _bare(tree: Any) -> Any:
    """A type without what does not tell how its values look."""
    if isinstance(tree, dict):
        left = {key: value for key, value in tree.items() if key not in ("doc", "aliases", "connect.name")}
        if isinstance(left["type"], str) and left["type"] in ("string", "bytes", "boolean", "null", *_NUMBERS):
            return left if "logicalType" in left else left["type"]
        return left
    return tree


def kind_name(tree: Any) -> str:
    """The type of a value of a schema, without what is said of it.

    >>> kind_name({"type": {"type": "long", "logicalType": "timestamp-millis"}}), kind_name("int")
    ('long', 'int')
    """
    kind = tree["type"] if isinstance(tree, dict) else tree
    return str(kind["type"] if isinstance(kind, dict) else kind)


def _told(tree: Any) -> str:
    if isinstance(tree, list):
        return " or ".join(_told(one) for one in tree)
    logical = tree.get("logicalType") if isinstance(tree, dict) else None
    return str(logical or kind_name(tree))


def _struct(column: pa.Array, writer: Any, reader: Any, wanted: pa.DataType) -> pa.Array:
    parts = dict(zip((field["name"] for field in writer["fields"]), column.flatten(), strict=True))
    made = []
    for field, kind in zip(reader["fields"], wanted, strict=True):
        theirs = writers_field(field, writer)
        if theirs is None:
            made.append(default_column(field["type"], field["default"], len(column)))
        else:
            part = parts[theirs["name"]]
            if column.null_count:  # What a null hides is no null of its own.
                part = part.take(pa.array(np.arange(len(part))))
            try:
                sound = part.filter(column.is_valid()) if column.null_count else part
                whole = convert(sound, theirs["type"], field["type"], kind.type)
            except Mismatch as error:
                raise Mismatch(f"field {field['name']!r}: {error}") from error
            made.append(_spread(whole, column) if column.null_count else whole)
    return pa.StructArray.from_arrays(made, fields=list(wanted), mask=_mask(column))


def _spread(values: pa.Array, column: pa.Array) -> pa.Array:
    """Values of the rows of the column that are not null, with nulls in between."""
    there = np.asarray(column.is_valid())
    return values.take(pa.array(np.cumsum(there) - 1, mask=~there))


def _symbols(column: pa.Array, reader: Any) -> pa.Array:
    texts = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    known = pc.is_in(texts, pa.array([*reader["symbols"], None], pa.string()))
    if not pc.all(known, min_count=0).as_py():
        default = reader.get("default")
        if default is None:
            name = texts.filter(pc.invert(known))[0].as_py()
            raise Mismatch(f"it has the symbol {name!r}, which the schema that is read by has not")
        texts = pc.if_else(known, texts, default)
    return texts.dictionary_encode()


def _single(column: pa.Array, wanted: pa.DataType, writer: Any, reader: Any) -> pa.Array:
    if column.type == wanted:
        return column
    types = pa.types
    if types.is_decimal(column.type) and types.is_decimal(wanted) and column.type.scale != wanted.scale:
        raise Mismatch(f"it is {column.type}, and {wanted} is read")
    try:
        # Avro lets a long become a float, which may round it.
        return column.cast(wanted, safe=not (types.is_integer(column.type) and types.is_floating(wanted)))
    except (pa.ArrowException, NotImplementedError) as error:
        raise Mismatch(f"it is {_told(writer)}, of which no {_told(reader)} can be made: {error}") from error


def _offsets(column: pa.Array) -> pa.Array:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _mask(column: pa.Array) -> pa.Array | None:
    return column.is_null() if column.null_count else None
