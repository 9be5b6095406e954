"""Avro schemas as Arrow types, and Arrow schemas as Avro's.

Rows are decoded to plain Python values (`wire` types: whole numbers for times, bytes for texts and decimals), which
become columns at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read.infer_schema import UNREADABLE
from beamsplit.transforms.write.plain_columns import written_column, written_type


class Unreadable(ValueError):
    """No Arrow type holds the values of an Avro type; says why."""


class AvroType(NamedTuple):
    """What an Avro type is read as."""

    wire: pa.DataType
    """Of the Python values that are decoded."""

    arrow: pa.DataType
    """Of the column."""


_SINGLE = {
    "null": AvroType(pa.null(), pa.null()),
    "boolean": AvroType(pa.bool_(), pa.bool_()),
    "int": AvroType(pa.int32(), pa.int32()),
    "long": AvroType(pa.int64(), pa.int64()),
    "float": AvroType(pa.float32(), pa.float32()),
    "double": AvroType(pa.float64(), pa.float64()),
    "bytes": AvroType(pa.binary(), pa.binary()),
    "string": AvroType(pa.binary(), pa.string()),
}

_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    **{
        ("long", f"{local}timestamp-{name}"): pa.timestamp(unit, None if local else "UTC")
        for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
        for local in ("", "local-")
    },
}

_WIDEST = {
    frozenset(("int", "long")): "long",
    frozenset(("float", "double")): "double",
    frozenset(("int", "float")): "double",
    frozenset(("int", "double")): "double",
    frozenset(("int", "float", "double")): "double",
}
"""Numbers in a union, and the type that holds each as it is."""


def avro_fields(schema: Mapping[str, Any]) -> dict[str, AvroType | Unreadable]:
    """What each field of a record is read as, or why it cannot be."""
    names: dict[str, AvroType | None] = {}
    found: dict[str, AvroType | Unreadable] = {}
    space = _space(schema, "")
    for field in schema["fields"]:
        try:
            found[field["name"]] = _type_of(field["type"], names, space)
        except Unreadable as why:
            found[field["name"]] = why
    return found


def arrow_schema(types: Mapping[str, AvroType | Unreadable]) -> pa.Schema:
    """The columns of a file; those that cannot be read are marked `UNREADABLE`."""
    return pa.schema(
        [
            pa.field(name, pa.string(), metadata={UNREADABLE: str(kind).encode()})
            if isinstance(kind, Unreadable)
            else pa.field(name, kind.arrow)
            for name, kind in types.items()
        ]
    )


def _space(schema: Mapping[str, Any], space: str) -> str:
    """The namespace of what a named type names."""
    if "." in schema.get("name", ""):
        return str(schema["name"].rpartition(".")[0])
    return str(schema.get("namespace", space) or "")


def _type_of(schema: Any, names: dict[str, AvroType | None], space: str) -> AvroType:
    if isinstance(schema, list):
        return _union(schema, names, space)
    if isinstance(schema, str):
        if schema in _SINGLE:
            return _SINGLE[schema]
        known = names.get(schema if "." in schema or not space else f"{space}.{schema}", names.get(schema))
        if known is None:
            raise Unreadable(f"of the type {schema}, which its schema does not tell, or which is part of itself")
        return known
    kind = schema["type"]
    if kind in ("record", "error", "enum", "fixed"):
        inner = _space(schema, space)
        name = schema["name"] if "." in schema["name"] or not inner else f"{inner}.{schema['name']}"
        names[name] = None  # As long as it is not complete.
        names[name] = made = _named(schema, names, inner)
        return made
    if kind == "array":
        items = _type_of(schema["items"], names, space)
        return AvroType(pa.list_(items.wire), pa.list_(items.arrow))
    if kind == "map":
        values = _type_of(schema["values"], names, space)
        return AvroType(pa.map_(pa.string(), values.wire), pa.map_(pa.string(), values.arrow))
    plain = _type_of(kind, names, space)
    logical = schema.get("logicalType")
    if isinstance(kind, str) and (kind, logical) in _LOGICAL:
        return plain._replace(arrow=_LOGICAL[kind, logical])
    return _decimal(schema, plain) if kind == "bytes" and logical == "decimal" else plain


def _named(schema: Mapping[str, Any], names: dict[str, AvroType | None], space: str) -> AvroType:
    if schema["type"] == "enum":
        return AvroType(pa.string(), pa.dictionary(pa.int32(), pa.string()))
    if schema["type"] == "fixed":
        kind = pa.binary(schema["size"])
        plain = AvroType(kind, kind)
        return _decimal(schema, plain) if schema.get("logicalType") == "decimal" else plain
    fields = [(field["name"], _type_of(field["type"], names, space)) for field in schema["fields"]]
    return AvroType(pa.struct([(n, t.wire) for n, t in fields]), pa.struct([(n, t.arrow) for n, t in fields]))


def _decimal(schema: Mapping[str, Any], plain: AvroType) -> AvroType:
    precision, scale = schema.get("precision", 0), schema.get("scale", 0)
    if not 0 < precision <= 76 or not 0 <= scale <= precision:
        raise Unreadable(f"a decimal of {precision} digits, {scale} of them behind the point, and 76 can be read")
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    return AvroType(pa.binary(), make(precision, scale))


def _union(schema: list[Any], names: dict[str, AvroType | None], space: str) -> AvroType:
    branches = [one for one in schema if one != "null"]
    if not branches:
        return _SINGLE["null"]
    if len(branches) == 1:
        return _type_of(branches[0], names, space)
    numbers = frozenset(one for one in branches if isinstance(one, str))
    if len(numbers) == len(branches) and numbers in _WIDEST:
        return _SINGLE[_WIDEST[numbers]]
    told = ", ".join(one if isinstance(one, str) else str(one.get("logicalType") or one["type"]) for one in branches)
    raise Unreadable(f"a union of {told}, and no type holds all of them")


def plain_avro(schema: Any) -> Any:
    """The schema without logical types and defaults, and with texts as bytes: rows are decoded by it as they lie."""
    if isinstance(schema, list):
        return [plain_avro(one) for one in schema]
    if isinstance(schema, str):
        return "bytes" if schema == "string" else schema
    left_out = ("logicalType", "default", "precision", "scale", "doc", "aliases", "order")
    made = {key: value for key, value in schema.items() if key not in left_out}
    for key in ("type", "items", "values"):
        if key in made:
            made[key] = plain_avro(made[key])
    if "fields" in made:
        made["fields"] = [plain_avro(field) for field in made["fields"]]
    return made


def column_of(wire: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Decoded values as the column that they are."""
    return written_column(wire, wanted, _single_of)


def _single_of(wire: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(wanted):
        return _decimals(wire, wanted)
    if pa.types.is_dictionary(wanted):
        return wire.dictionary_encode()
    return wire.view(wanted)


def _decimals(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Two's complement in big-endian bytes, of any number of them, as decimals.

    Raises:
        pa.ArrowInvalid: a value has more digits than its type.
    """
    width = wanted.bit_width // 8
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    if len(lengths) and lengths.max() > width:
        raise pa.ArrowInvalid(f"a decimal of {lengths.max()} bytes is no {wanted}")
    value = np.zeros((len(column), width), np.uint8)
    place = np.arange(width)[None, :]  # From the last byte.
    there = place < lengths[:, None]
    value[there] = data[(offsets[1:, None] - 1 - place)[there]]
    negative = (lengths > 0) & (value[np.arange(len(column)), np.maximum(lengths - 1, 0)] >= 0x80)
    value[negative[:, None] & ~there] = 0xFF
    validity = None if not column.null_count else pa.array(column.is_valid()).buffers()[1]
    made = pa.Array.from_buffers(wanted, len(column), [validity, pa.py_buffer(value.tobytes())])
    made.validate(full=True)
    return made


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_WRITTEN = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()), "int"),
    **dict.fromkeys((pa.int64(), pa.uint32()), "long"),
    **dict.fromkeys((pa.float16(), pa.float32()), "float"),
    **dict.fromkeys((pa.string(), pa.large_string()), "string"),
    **dict.fromkeys((pa.binary(), pa.large_binary()), "bytes"),
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.null(): "null",
    pa.date32(): {"type": "int", "logicalType": "date"},
    pa.time32("ms"): {"type": "int", "logicalType": "time-millis"},
    pa.time64("us"): {"type": "long", "logicalType": "time-micros"},
}

_AS = {pa.date64(): pa.date32(), pa.time32("s"): pa.time32("ms")}


def avro_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type that Avro has for a type: seconds become milliseconds, and tensors lists in lists."""

    def single(kind: pa.DataType) -> pa.DataType:
        seconds = pa.types.is_timestamp(kind) and kind.unit == "s"
        return pa.timestamp("ms", kind.tz) if seconds else _AS.get(kind, kind)

    return written_type(kind, single)


def avro_schema(schema: pa.Schema) -> dict[str, Any]:
    """The schema of a file with these columns, all of which may be null.

    Raises:
        TypeError: Avro has no such type, or does not take a name.
    """
    return _record("row", [(field.name, avro_type(field.type)) for field in schema])


def _record(name: str, fields: list[tuple[str, pa.DataType]]) -> dict[str, Any]:
    made = []
    for at, (field, kind) in enumerate(fields):
        if not _NAME.fullmatch(field):
            raise TypeError(f"Avro takes names of letters, digits and _, and not {field!r}")
        inner = _avro_of(kind, f"{name}_{at}")
        made.append({"name": field, "type": inner if inner == "null" else ["null", inner], "default": None})
    return {"type": "record", "name": name, "fields": made}


def _avro_of(kind: pa.DataType, name: str) -> Any:
    """The type as Avro has it; `name` is one that no other has."""
    types = pa.types
    if kind in _WRITTEN:
        return _WRITTEN[kind]
    if types.is_list(kind):
        return {"type": "array", "items": _nullable(kind.value_type, name)}
    if types.is_map(kind) and (types.is_string(kind.key_type) or types.is_large_string(kind.key_type)):
        return {"type": "map", "values": _nullable(kind.item_type, name)}
    if types.is_struct(kind):
        return _record(name, [(field.name, field.type) for field in kind])
    if types.is_fixed_size_binary(kind):
        return {"type": "fixed", "name": name, "size": kind.byte_width}
    if types.is_decimal(kind) and kind.scale >= 0:
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if types.is_timestamp(kind):
        name = {"ms": "millis", "us": "micros", "ns": "nanos"}[kind.unit]
        return {"type": "long", "logicalType": f"{'' if kind.tz else 'local-'}timestamp-{name}"}
    raise TypeError(f"Avro has no {kind}")


def _nullable(kind: pa.DataType, name: str) -> Any:
    inner = _avro_of(kind, name)
    return inner if inner == "null" else ["null", inner]


def within_itself(tree: Any, within: tuple[str, ...] = ()) -> bool:
    """Whether a type of a schema, as fastavro parses it, is used within itself, so that values may be of any depth.

    >>> within_itself({"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]})
    True
    """
    if isinstance(tree, str):
        return tree in within
    if isinstance(tree, list):
        return any(within_itself(one, within) for one in tree)
    if "name" in tree:
        within = (*within, tree["name"])
    inner = [tree[key] for key in ("type", "items", "values") if key in tree]
    return any(within_itself(one, within) for one in [*inner, *(one["type"] for one in tree.get("fields", ()))])


def values_reader(deep: bool) -> Any:
    """What reads a value: `read(stream, schema, None)`.

    Args:
        deep: whether values may be of any depth. Compiled code would run out of its stack then and end the process, so
            Python reads them, which raises RecursionError.
    """
    if deep:
        from fastavro._read_py import schemaless_reader as read
    else:
        from fastavro import schemaless_reader as read
    return read
