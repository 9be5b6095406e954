"""Rows as Avro of a schema made elsewhere: which columns fit, which rows do not, and the bytes of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.formats.avro_encode import Pieces, big_endian, characters, fixed_width, joined, lists, numbers
from beamsplit.transforms.formats.avro_schema import avro_type
from beamsplit.transforms.kafka.registry.avro_plan import AvroSchema, avro_schema_of
from beamsplit.transforms.kafka.registry.avro_resolve import default_column, kind_name
from beamsplit.transforms.write.plain_columns import written_column


class Unfit(ValueError):
    """A column does not fit a field; says why."""


@dataclass(frozen=True)
class AvroWriter:
    """Makes messages of rows, as `kinds.RowWriter` says."""

    text: str
    references: tuple[tuple[str, str], ...]

    @property
    def _schema(self) -> AvroSchema:
        return avro_schema_of(self.text, self.references)

    def check(self, rows: pa.Schema) -> None:
        """Raise where columns and fields do not go together.

        Raises:
            Unfit: they do not; says which, and why.
        """
        _check_record(pa.struct(list(rows)), self._schema.tree, "column")

    def faults(self, rows: pa.RecordBatch) -> dict[int, str]:
        """Rows with a null, or a symbol, that a field does not take."""
        found: dict[int, str] = {}
        for field in self._schema.tree["fields"]:
            if field["name"] not in rows.schema.names:
                continue
            column = _plain(rows.column(field["name"]))
            wrong = _wrong(column, field["type"])
            for row in np.flatnonzero(wrong).tolist() if wrong is not None else ():
                why = "holds a null" if column[row].as_py() is None else "holds a null, or a symbol, in it"
                found.setdefault(row, f"column {field['name']!r} {why} that the schema of the output does not take")
        return found

    def bodies(self, rows: pa.RecordBatch) -> pa.Array:
        """The bytes of each row (binary)."""
        columns = {name: _plain(column) for name, column in zip(rows.schema.names, rows.columns, strict=True)}
        made = _record(columns, self._schema.tree, rows.num_rows)
        ends = np.concatenate([[0], np.cumsum(made.lengths)]).astype(np.int32)
        return pa.Array.from_buffers(
            pa.binary(), rows.num_rows, [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(made.data))]
        )


def _plain(column: pa.Array) -> pa.Array:
    return written_column(column, avro_type(column.type))


def _check_record(kind: pa.DataType, tree: Mapping[str, Any], word: str) -> None:
    fields = {field["name"]: field for field in tree["fields"]}
    for column in kind:
        if column.name not in fields:
            raise Unfit(f"it has no field for the {word} {column.name!r}; it has {', '.join(fields) or 'none'}")
        try:
            wanted = avro_type(column.type)
        except TypeError as error:
            raise Unfit(f"{word} {column.name!r} is {column.type}, which Avro has not") from error
        why = _unfit(wanted, fields[column.name]["type"])
        if why:
            raise Unfit(f"{word} {column.name!r} is {column.type}, and its field {why}")
    names = [column.name for column in kind]
    for name, field in fields.items():
        if name not in names and "default" not in field:
            raise Unfit(f"its field {name!r} has no default, and there is no {word} of that name")


_INTEGERS = {pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()}
_SHORT = {pa.int8(), pa.int16(), pa.uint8(), pa.uint16()}
_TAKES: Mapping[str, set[pa.DataType]] = {
    "boolean": {pa.bool_()},
    "int": _INTEGERS,
    "long": {*_INTEGERS, pa.int64(), pa.uint32()},
    "float": {pa.float16(), pa.float32(), *_SHORT},
    "double": {pa.float16(), pa.float32(), pa.float64(), *_INTEGERS, pa.uint32()},
    "string": {pa.string(), pa.large_string()},
    "bytes": {pa.binary(), pa.large_binary()},
}
"""Which columns each type holds without a loss."""

_TIMES: Mapping[tuple[str, str], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
}


def _unfit(kind: pa.DataType, tree: Any) -> str:
    """Why a column does not fit a type; empty where it does."""
    types = pa.types
    if isinstance(tree, list):
        if types.is_null(kind):
            return "" if "null" in tree else "takes no null"
        if any(one != "null" and not _unfit(kind, one) for one in tree):
            return ""
        reasons = [_unfit(kind, one) for one in tree if one != "null"]
        return reasons[0] if len(reasons) == 1 else f"is {_told(tree)}"
    name, logical = kind_name(tree), tree.get("logicalType") if isinstance(tree, dict) else None
    fits = False
    if name == "record":
        if types.is_struct(kind):
            try:
                _check_record(kind, tree, "field")
            except Unfit as why:
                return f"does not take it: {why}"
            fits = True
    elif name == "array":
        return _unfit(kind.value_type, tree["items"]) if types.is_list(kind) else f"is {_told(tree)}"
    elif name == "map":
        return _unfit(kind.item_type, tree["values"]) if types.is_map(kind) else f"is {_told(tree)}"
    elif name == "enum":
        fits = kind in _TAKES["string"]
    elif logical == "decimal":
        same = types.is_decimal(kind) and kind.scale == tree.get("scale", 0)
        fits = same and kind.precision <= tree["precision"]
        if name == "fixed":
            fits = fits and tree["size"] >= -(-(kind.precision * 3.33 + 1) // 8)
    elif name == "fixed":
        fits = types.is_fixed_size_binary(kind) and kind.byte_width == tree["size"]
    elif types.is_temporal(kind):
        fits = kind == (_TIMES.get((name, str(logical))) or _timestamp(name, str(logical)))
    elif name == "null":
        fits = types.is_null(kind)
    elif logical is None or logical not in _KNOWN:
        fits = kind in _TAKES.get(name, set())
    return "" if fits else f"is {_told(tree)}"


_KNOWN = {"date", "time-millis", "time-micros", "decimal"} | {
    f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos")
}
"""Logical types that say what a number or bytes are; others, `uuid` say, say how a text looks."""


def _timestamp(name: str, logical: str) -> pa.DataType | None:
    units = {"millis": "ms", "micros": "us", "nanos": "ns"}
    local, found, unit = logical.rpartition("timestamp-")
    return pa.timestamp(units[unit], None if local else "UTC") if found and name == "long" and unit in units else None


def _told(tree: Any) -> str:
    if isinstance(tree, list):
        return " or ".join(_told(one) for one in tree)
    logical = tree.get("logicalType") if isinstance(tree, dict) else None
    if logical == "decimal":
        return f"decimal({tree.get('precision')}, {tree.get('scale', 0)})"
    return str(logical or kind_name(tree))


def _branch(kind: pa.DataType, tree: list[Any]) -> int:
    """The branch that values of a column are written as."""
    return next(at for at, one in enumerate(tree) if one != "null" and not _unfit(kind, one))


def _wrong(column: pa.Array, tree: Any) -> np.ndarray | None:
    """Which values hold a null or a symbol that the type does not take; None where there is none."""
    nulls = None
    if column.null_count:
        nulls = np.asarray(column.is_null())
        if not (isinstance(tree, list) and "null" in tree):
            inner = _wrong(column.drop_null(), tree)
            if inner is not None:
                nulls[~nulls] |= inner
            return nulls
    if isinstance(tree, list):
        if pa.types.is_null(column.type):
            return None
        tree = tree[_branch(column.type, tree)]
    inner = _wrong_within(column.drop_null() if nulls is not None else column, tree)
    if inner is None or nulls is None:
        return inner
    found = np.zeros(len(column), bool)
    found[~nulls] = inner
    return found


def _wrong_within(column: pa.Array, tree: Any) -> np.ndarray | None:
    name = kind_name(tree)
    if name == "enum":
        known = pc.is_in(column, pa.array(tree["symbols"], column.type))
        return None if pc.all(known, min_count=0).as_py() else ~np.asarray(known)
    if name == "record":
        fields = {field["name"]: field for field in tree["fields"]}
        parts = [_wrong(p, fields[f.name]["type"]) for p, f in zip(column.flatten(), column.type, strict=True)]
        there = [part for part in parts if part is not None]
        return np.logical_or.reduce(there) if there else None
    if name in ("array", "map"):
        if name == "map":
            column = _entries(column)
        items = column.flatten()
        inner = _wrong(items.flatten()[1], tree["values"]) if name == "map" else _wrong(items, tree["items"])
        if inner is None:
            return None
        found = np.zeros(len(column), bool)
        found[np.asarray(pc.list_parent_indices(column))[inner]] = True
        return found
    return None


def _entries(column: pa.Array) -> pa.Array:
    return column.cast(pa.list_(pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])))


def _record(columns: Mapping[str, pa.Array], tree: Mapping[str, Any], count: int) -> Pieces:
    parts = [
        _any(columns[field["name"]], field["type"])
        if field["name"] in columns
        else _any(_plain(default_column(field["type"], field["default"], count)), field["type"])
        for field in tree["fields"]
    ]
    return joined(parts, count) if parts else Pieces(np.empty(0, np.uint8), np.zeros(count, np.int64))


def _any(column: pa.Array, tree: Any) -> Pieces:
    """Values that the type takes."""
    if not isinstance(tree, list):
        return _values(column, tree)
    nothing = pa.types.is_null(column.type)
    branch = 0 if nothing else _branch(column.type, tree)
    which = np.full(len(column), branch, np.int64)
    if not column.null_count:
        return joined([numbers(which), _values(column, tree[branch])], len(column))
    there = np.asarray(column.is_valid())
    which[~there] = tree.index("null")
    lengths = np.zeros(len(column), np.int64)
    if nothing:
        return numbers(which)
    values = _values(column.drop_null(), tree[branch])
    lengths[there] = values.lengths
    return joined([numbers(which), Pieces(values.data, lengths)], len(column))


def _values(column: pa.Array, tree: Any) -> Pieces:
    """Values of which none is null."""
    name = kind_name(tree)
    if name == "null":
        return Pieces(np.empty(0, np.uint8), np.zeros(len(column), np.int64))
    if name == "record":
        parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        return _record(parts, tree, len(column))
    if name == "array":
        return lists(column, _any(column.flatten(), tree["items"]))
    if name == "map":
        entries = _entries(column)
        keys, values = entries.flatten().flatten()
        return lists(entries, joined([_values(keys, "string"), _any(values, tree["values"])], len(keys)))
    if name == "enum":
        return numbers(np.asarray(pc.index_in(column, pa.array(tree["symbols"], column.type))).astype(np.int64))
    if name == "boolean":
        return fixed_width(column.cast(pa.uint8()).to_numpy(zero_copy_only=False))
    if name in ("float", "double"):
        wide = column.cast(pa.float32() if name == "float" else pa.float64())
        return fixed_width(wide.to_numpy(zero_copy_only=False))
    if pa.types.is_decimal(column.type):
        return _decimals(column, tree)
    if name in ("int", "long"):
        if pa.types.is_temporal(column.type):
            column = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
        return numbers(column.to_numpy(zero_copy_only=False).astype(np.int64))
    if name == "fixed":
        size = tree["size"]
        data = np.frombuffer(column.buffers()[1] or b"", np.uint8)[column.offset * size :][: len(column) * size]
        return Pieces(data, np.full(len(column), size, np.int64))
    return characters(column.cast(pa.large_binary()))


def _decimals(column: pa.Array, tree: Any) -> Pieces:
    turned = big_endian(column)
    if kind_name(tree) == "bytes":
        return joined([numbers(turned.lengths), turned], len(column))
    size, width = tree["size"], column.type.bit_width // 8
    rows = turned.data.reshape(-1, width)
    if size <= width:
        rows = rows[:, width - size :]
    else:
        sign = np.where(rows[:, :1] >= 0x80, 0xFF, 0).astype(np.uint8)
        rows = np.concatenate([np.repeat(sign, size - width, axis=1), rows], axis=1)
    return Pieces(np.ascontiguousarray(rows).reshape(-1), np.full(len(column), size, np.int64))
