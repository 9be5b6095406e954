"""Rows as Protobuf of a schema that was made elsewhere: which columns fit, and the bytes of each row, by column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from beamsplit.transforms.formats.avro_encode import Pieces, fixed_width, joined, numbers
from beamsplit.transforms.kafka.registry.protobuf_schema import protobuf_schema_of
from beamsplit.transforms.kafka.registry.protobuf_types import (
    CHARACTERS,
    SINGLE,
    WIDTHS,
    WRAPPERS,
    default_of,
    is_map,
    is_repeated,
)
from beamsplit.transforms.write.plain_columns import written_column, written_type

F = FieldDescriptor


class Unfit(ValueError):
    """A column does not fit a field; says why."""


@dataclass(frozen=True)
class ProtobufWriter:
    """Makes messages of rows, as `kinds.RowWriter` says."""

    text: str
    references: tuple[tuple[str, str], ...]
    name: str
    """Full name of the message."""

    path: tuple[int, ...]
    """Its place in its file."""

    @property
    def _message(self) -> Descriptor:
        return protobuf_schema_of(self.text, self.references).message(self.name)

    def check(self, rows: pa.Schema) -> None:
        """Raise where columns and fields do not go together.

        Raises:
            Unfit: they do not; says which, and why.
        """
        _check_message(pa.struct(list(rows)), self._message, "column")

    def faults(self, rows: pa.RecordBatch) -> dict[int, str]:
        """Rows with a null, or a symbol, that a field does not take."""
        found: dict[int, str] = {}
        for one in self._message.fields:
            if one.name not in rows.schema.names:
                continue
            wrong = _wrong(_plain(rows.column(one.name)), one)
            for row in np.flatnonzero(wrong).tolist():
                why = "a null, or a symbol, that the schema of the output does not take"
                found.setdefault(row, f"column {one.name!r} holds {why}")
        return found

    def bodies(self, rows: pa.RecordBatch) -> pa.Array:
        """The bytes of each row (binary): which message of the file it is, then the message."""
        place = [0] if self.path == (0,) else [len(self.path), *self.path]
        head = numbers(np.array(place, np.int64)).data
        columns = {name: _plain(column) for name, column in zip(rows.schema.names, rows.columns, strict=True)}
        heads = Pieces(np.tile(head, rows.num_rows), np.full(rows.num_rows, len(head), np.int64))
        made = joined([heads, _message(columns, self._message, rows.num_rows)], rows.num_rows)
        ends = np.concatenate([[0], np.cumsum(made.lengths)]).astype(np.int32)
        data = pa.py_buffer(np.ascontiguousarray(made.data))
        return pa.Array.from_buffers(pa.binary(), rows.num_rows, [None, pa.py_buffer(ends), data])


def _plain(column: pa.Array) -> pa.Array:
    return written_column(column, _plain_type(column.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return written_type(kind, lambda one: pa.float32() if one == pa.float16() else one)


_SMALL = {pa.int8(), pa.int16(), pa.uint8(), pa.uint16()}
_SIGNED = (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64)
_TAKES: Mapping[int, set[pa.DataType]] = {
    F.TYPE_DOUBLE: {pa.float64(), pa.float32(), pa.int32(), pa.uint32(), *_SMALL},
    F.TYPE_FLOAT: {pa.float32(), *_SMALL},
    F.TYPE_BOOL: {pa.bool_()},
    F.TYPE_STRING: {pa.string(), pa.large_string()},
    F.TYPE_BYTES: {pa.binary(), pa.large_binary()},
    F.TYPE_ENUM: {pa.string(), pa.large_string()},
    **{kind: {pa.int64(), pa.int32(), pa.uint32(), *_SMALL} for kind in _SIGNED},
    **{kind: {pa.int32(), *_SMALL} for kind in (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32)},
    **{kind: {pa.uint32(), pa.uint8(), pa.uint16()} for kind in (F.TYPE_UINT32, F.TYPE_FIXED32)},
    **{kind: {pa.uint64(), pa.uint32(), pa.uint8(), pa.uint16()} for kind in (F.TYPE_UINT64, F.TYPE_FIXED64)},
}
"""Which columns each type holds without a loss."""


def _check_message(kind: pa.DataType, message: Descriptor, word: str) -> None:
    for column in kind:
        one = message.fields_by_name.get(column.name)
        if one is None:
            names = ", ".join(field.name for field in message.fields) or "none"
            raise Unfit(f"{message.full_name} has no field for the {word} {column.name!r}; it has {names}")
        try:
            plain = _plain_type(column.type)
        except TypeError as error:
            raise Unfit(f"{word} {column.name!r} is {column.type}, which Protobuf has not") from error
        if not _fits(plain, one):
            raise Unfit(f"{word} {column.name!r} is {column.type}, and its field is {_told(one)}")
    names_there = [column.name for column in kind]
    for one in message.fields:
        required = getattr(one, "is_required", None)
        if (required if required is not None else one.label == F.LABEL_REQUIRED) and one.name not in names_there:
            raise Unfit(f"its field {one.name!r} is required, and there is no {word} of that name")


def _fits(kind: pa.DataType, one: Any) -> bool:
    if is_map(one):
        key, value = one.message_type.fields_by_number[1], one.message_type.fields_by_number[2]
        return pa.types.is_map(kind) and kind.key_type in _TAKES[key.type] and _fits_value(kind.item_type, value)
    if is_repeated(one):
        return pa.types.is_list(kind) and _fits_value(kind.value_type, one)
    return _fits_value(kind, one)


def _fits_value(kind: pa.DataType, one: Any) -> bool:
    if one.type != F.TYPE_MESSAGE:
        return kind in _TAKES.get(one.type, set())
    message = one.message_type
    if message.full_name in WRAPPERS:
        return kind in _TAKES[message.fields_by_number[1].type]
    if message.full_name == "google.protobuf.Timestamp":
        return pa.types.is_timestamp(kind) and kind.tz is not None
    if not pa.types.is_struct(kind):
        return False
    _check_message(kind, message, "field")
    return True


_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in vars(F).items() if name.startswith("TYPE_")}


def _told(one: Any) -> str:
    name = one.message_type.full_name if one.type == F.TYPE_MESSAGE else _NAMES[one.type]
    return "a map" if is_map(one) else f"repeated {name}" if is_repeated(one) else str(name)


def _wrong(column: pa.Array, one: Any) -> np.ndarray:
    """Which values hold a null or a symbol that a field does not take."""
    if is_repeated(one):
        wrong = np.zeros(len(column), bool)
        if column.null_count:  # A list that is null would come back as one that is empty.
            wrong |= np.asarray(column.is_null())
        entries = _entries(column) if is_map(one) else column
        inner = entries.flatten().flatten()[1] if is_map(one) else entries.flatten()
        of = one.message_type.fields_by_number[2] if is_map(one) else one
        bad = _wrong_values(inner, of) | (np.asarray(inner.is_null()) if inner.null_count else False)
        wrong[np.asarray(pc.list_parent_indices(entries))[bad]] = True
        return wrong
    return _wrong_values(column, one) | (
        np.asarray(column.is_null()) if column.null_count and not one.has_presence else np.zeros(len(column), bool)
    )


def _wrong_values(column: pa.Array, one: Any) -> np.ndarray:
    there = np.asarray(column.is_valid())
    wrong = np.zeros(len(column), bool)
    if one.type == F.TYPE_ENUM:
        known = pa.array([value.name for value in one.enum_type.values], column.type)
        return there & ~np.asarray(pc.is_in(column, known))
    if one.type == F.TYPE_MESSAGE and pa.types.is_struct(column.type):
        parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        for field in one.message_type.fields:
            if field.name in parts:
                wrong |= there & _wrong(parts[field.name], field)
    return wrong


def _entries(column: pa.Array) -> pa.Array:
    return column.cast(pa.list_(pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])))


def _message(columns: Mapping[str, pa.Array], message: Descriptor, count: int) -> Pieces:
    parts = [_field(columns[one.name], one) for one in _by_number(message) if one.name in columns]
    return joined(parts, count) if parts else Pieces(np.empty(0, np.uint8), np.zeros(count, np.int64))


def _by_number(message: Descriptor) -> Iterator[Any]:
    yield from sorted(message.fields, key=lambda one: one.number)


def _field(column: pa.Array, one: Any) -> Pieces:
    """A field of each row: with its tag, or nothing where there is none."""
    if is_map(one):
        entries = _entries(column)
        keys, values = entries.flatten().flatten()
        inner = one.message_type.fields_by_number
        body = joined([_field(keys, inner[1]), _field(values, inner[2])], len(keys))
        return _grouped(_tagged(one.number, 2, _with_length(body)), entries)
    if is_repeated(one):
        items = column.flatten()
        if one.type in CHARACTERS or one.type == F.TYPE_MESSAGE:
            return _grouped(_tagged(one.number, 2, _values(items, one)), column)
        packed = _grouped(_values(items, one), column)
        if not one.is_packed:
            return _grouped(_tagged(one.number, _wire(one), _values(items, one)), column)
        return _spread(_tagged(one.number, 2, _with_length(packed)), np.asarray(packed.lengths) > 0)
    there = np.asarray(column.is_valid())
    if not one.has_presence:  # What is as if nothing were there is left out.
        default = default_of(one)
        if one.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
            # -0.0 is not 0.0
            there = there & (column.to_numpy(zero_copy_only=False).view(f"i{column.type.bit_width // 8}") != 0)
        else:
            there = there & ~np.asarray(pc.fill_null(pc.equal(column, pa.scalar(default, column.type)), False))
    values = _tagged(one.number, _wire(one), _values(column.filter(pa.array(there)), one))
    lengths = np.zeros(len(column), np.int64)
    lengths[there] = values.lengths
    return Pieces(values.data, lengths)


def _spread(pieces: Pieces, kept: np.ndarray) -> Pieces:
    """Only the pieces that are kept; the others become empty."""
    data = pieces.data[np.repeat(kept, pieces.lengths)]
    return Pieces(data, np.where(kept, pieces.lengths, 0))


def _wire(one: Any) -> int:
    if one.type in WIDTHS:
        return 1 if np.dtype(WIDTHS[one.type]).itemsize == 8 else 5
    return 2 if one.type in CHARACTERS or one.type == F.TYPE_MESSAGE else 0


def _varints(values: np.ndarray) -> Pieces:
    """uint64 numbers of 7 bits a byte: `numbers` turns signs first, which this takes back."""
    signed = values.view(np.int64)
    return numbers((values >> np.uint64(1)).view(np.int64) ^ -(signed & 1))


def _tagged(number: int, wire: int, values: Pieces) -> Pieces:
    tags = np.full(len(values.lengths), number << 3 | wire, np.uint64)
    return joined([_varints(tags), values], len(values.lengths))


def _with_length(values: Pieces) -> Pieces:
    return joined([_varints(values.lengths.astype(np.uint64)), values], len(values.lengths))


def _grouped(items: Pieces, lists: pa.Array) -> Pieces:
    """The items of each list as one piece."""
    counts = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(items.lengths)])
    stops = np.cumsum(counts)
    return Pieces(items.data, ends[stops] - ends[stops - counts])


def _values(column: pa.Array, one: Any) -> Pieces:
    """Values of which none is null, without their tags."""
    if one.type in CHARACTERS:
        column = column.cast(pa.large_binary())
        offsets = np.frombuffer(column.buffers()[1] or b"", np.int64)[column.offset : column.offset + len(column) + 1]
        data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
        return _with_length(Pieces(data[offsets[0] : offsets[-1]] if len(column) else data[:0], np.diff(offsets)))
    if one.type == F.TYPE_MESSAGE:
        return _with_length(_inner(column, one.message_type))
    if one.type == F.TYPE_ENUM:
        numbers_of = {value.name: value.number for value in one.enum_type.values}
        names = pa.array(list(numbers_of), column.type)
        which = np.asarray(pc.index_in(column, names)).astype(np.int64)
        return _varints(np.array(list(numbers_of.values()), np.int64)[which].view(np.uint64))
    wide = column.cast(SINGLE[one.type])
    if one.type in WIDTHS:
        return fixed_width(wide.to_numpy(zero_copy_only=False).astype(WIDTHS[one.type]))
    values = wide.to_numpy(zero_copy_only=False)
    if one.type in (F.TYPE_SINT32, F.TYPE_SINT64):
        return numbers(values.astype(np.int64))
    unsigned = one.type in (F.TYPE_UINT64, F.TYPE_UINT32)
    return _varints(values.astype(np.uint64) if unsigned else values.astype(np.int64).view(np.uint64))


def _inner(column: pa.Array, message: Descriptor) -> Pieces:
    if message.full_name in WRAPPERS:
        return _message({"value": column}, message, len(column))
    if message.full_name == "google.protobuf.Timestamp":
        scale = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[column.type.unit]
        seconds, rest = np.divmod(column.view(pa.int64()).to_numpy(zero_copy_only=False), scale)
        nanos = (rest * (1_000_000_000 // scale)).astype(np.int32)
        return _message({"seconds": pa.array(seconds), "nanos": pa.array(nanos)}, message, len(column))
    parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    return _message(parts, message, len(column))


_TYPES: Mapping[pa.DataType, str] = {
    **{kind: _NAMES[number] for number, kind in SINGLE.items() if number in (
        F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_INT64, F.TYPE_INT32, F.TYPE_UINT64, F.TYPE_UINT32, F.TYPE_BOOL,
        F.TYPE_STRING, F.TYPE_BYTES)},
    **dict.fromkeys((pa.int8(), pa.int16()), "int32"),
    **dict.fromkeys((pa.uint8(), pa.uint16()), "uint32"),
    pa.large_string(): "string",
    pa.large_binary(): "bytes",
}  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def schema_text(rows: pa.Schema, name: str) -> str:
    """A .proto of a message for rows with these columns.

    Raises:
        Unfit: Protobuf has no such type, or does not take a name.
    """
    package, _, own = name.rpartition(".")
    lines = ['syntax = "proto3";', *([f"package {package};"] if package else [])]
    if any(pa.types.is_timestamp(_plain_type(column.type)) for column in rows):
        lines.append('import "google/protobuf/timestamp.proto";')
    lines.append(f"message {own} {{")
    for number, column in enumerate(rows, 1):
        if not _NAME.fullmatch(column.name):
            raise Unfit(f"Protobuf takes names of letters, digits and _, and not {column.name!r}")
        kind, word = _plain_type(column.type), "optional"
        if pa.types.is_list(kind):
            kind, word = kind.value_type, "repeated"
        told = _TYPES.get(kind)
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            told, word = "google.protobuf.Timestamp", "repeated" if word == "repeated" else ""
        if told is None:
            raise Unfit(f"no schema of Protobuf is made for the column {column.name!r}, which is {column.type}")
        lines.append(" ".join(f"  {word} {told} {column.name} = {number};".split(" ")))
    return "\n".join([*lines, "}", ""])
