"""Protobuf in a registry: what `kinds.Module` asks for.

body    numbers of the message's place in its file (a single 0 for the first) | the message
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.kafka.registry.avro_decode import MOST_PASSES, Decoded
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.cursors import Cursors, Fault, zigzag
from beamsplit.transforms.kafka.registry.framing import Bodies
from beamsplit.transforms.kafka.registry.kinds import How
from beamsplit.transforms.kafka.registry.protobuf_decode import Unsuited, read_fields
from beamsplit.transforms.kafka.registry.protobuf_schema import BadSchema, ProtobufSchema, protobuf_schema_of
from beamsplit.transforms.kafka.registry.protobuf_types import (
    WRAPPERS,
    default_of,
    enum_names,
    fields_of,
    is_map,
    is_repeated,
)
from beamsplit.transforms.kafka.registry.protobuf_write import ProtobufWriter, schema_text

F = FieldDescriptor


def fields(schema: Schema, record: str | None) -> Mapping[str, pa.DataType | Unreadable]:
    """What each field is read as, or why it cannot be.

    Raises:
        BadSchema: the schema cannot be read, or has no such message.
    """
    return fields_of(_parsed(schema).message(record))


def read(writer: Schema, reader: Schema, how: How, wanted: pa.Schema, bodies: Bodies) -> Decoded:
    """Messages written by one schema as fields of another; see `kinds.Module`."""
    theirs, message = _parsed(writer), _parsed(reader).message(how.record)
    rows, bad = np.arange(len(bodies.starts)), dict[int, str]()
    starts = bodies.starts.copy()
    places: dict[bytes, str] = {}
    while len(rows):
        try:
            begins = _past_place(bodies, rows)
        except Fault as fault:
            bad |= dict.fromkeys(fault.who.tolist(), str(fault))
            rows = np.setdiff1d(rows, fault.who)
            continue
        starts[rows] = begins
        break
    for row in _one_of_each(bodies, starts, rows):
        head = bodies.data[bodies.starts[row] : starts[row]].tobytes()
        places[head] = _why_not(theirs, head, message, wanted.names)
    if any(places.values()):
        for row in rows.tolist():
            why = places[bodies.data[bodies.starts[row] : starts[row]].tobytes()]
            if why:
                bad[row] = why
        rows = np.array([row for row in rows.tolist() if row not in bad], np.int64)
    found = _decoded(message, Bodies(bodies.data, starts, bodies.ends), rows, wanted)
    return found._replace(bad=bad | found.bad)


def writer(schema: Schema, record: str | None, rows: pa.Schema) -> ProtobufWriter:
    """What makes messages of rows with these columns.

    Raises:
        ValueError: they do not fit; says which and why.
    """
    parsed = _parsed(schema)
    message = parsed.message(record)
    made = ProtobufWriter(schema.text, schema.references, message.full_name, parsed.path(message))
    made.check(rows)
    return made


def derived(rows: pa.Schema, name: str) -> str:
    """A schema for rows with these columns, each of which may be null but for lists.

    Raises:
        ValueError: Protobuf has no such type, or does not take a name.
    """
    return schema_text(rows, name)


def _parsed(schema: Schema) -> ProtobufSchema:
    return protobuf_schema_of(schema.text, schema.references)


def _past_place(bodies: Bodies, rows: np.ndarray) -> np.ndarray:
    """Where messages begin behind what says which message of the file they are."""
    cursors = Cursors(bodies.data, bodies.ends)
    counts, at = cursors.varints(bodies.starts[rows], rows)
    left = zigzag(counts)
    wrong = (left < 0) | (left > 64)
    if wrong.any():
        raise Fault(rows[wrong], "it does not say which message of its schema it is")
    while (left > 0).any():
        some = np.flatnonzero(left > 0)
        _, at[some] = cursors.varints(at[some], rows[some])
        left[some] -= 1
    return at


def _one_of_each(bodies: Bodies, starts: np.ndarray, rows: np.ndarray) -> list[int]:
    """A message of each place: mostly all are the first of their file, which is one byte."""
    if not len(rows):
        return []
    lengths = starts[rows] - bodies.starts[rows]
    if (lengths == 1).all() and (bodies.data[bodies.starts[rows]] == 0).all():
        return [int(rows[0])]
    heads = {bodies.data[bodies.starts[row] : starts[row]].tobytes(): row for row in rows.tolist()}
    return list(heads.values())


def _why_not(theirs: ProtobufSchema, head: bytes, message: Descriptor, names: Sequence[str]) -> str:
    """Why messages at a place of the writer's file are not what is read; empty where they are."""
    data = np.frombuffer(head, np.uint8)
    values, _, _ = Cursors(data, np.array([len(data)])).many_varints(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([int((data < 0x80).sum())])
    )
    path = tuple(zigzag(values)[1:].tolist()) or (0,)
    try:
        written = theirs.at(path)
    except BadSchema as why:
        return str(why)
    if written.full_name != message.full_name:
        return f"it is a {written.full_name}, and {message.full_name} is read"
    return "" if written is message else _unlike(written, message, names)


_ALIKE = (
    {F.TYPE_INT32, F.TYPE_INT64, F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_BOOL},
    {F.TYPE_SINT32, F.TYPE_SINT64},
    {F.TYPE_STRING, F.TYPE_BYTES},
    {F.TYPE_FIXED32, F.TYPE_SFIXED32},
    {F.TYPE_FIXED64, F.TYPE_SFIXED64},
    {F.TYPE_ENUM, F.TYPE_INT32},
)
"""Types of which one may be read as another."""


def _unlike(written: Descriptor, read: Descriptor, names: Sequence[str]) -> str:
    """Why a field of a number is not what it was; Protobuf itself would pass it over without a word."""
    for one in read.fields:
        other = written.fields_by_number.get(one.number)
        if one.name not in names or other is None:
            continue
        alike = one.type == other.type or any({one.type, other.type} <= kinds for kinds in _ALIKE)
        if not alike or is_map(one) != is_map(other):
            return f"field {one.name!r}: its number {one.number} is of another type in the schema that is read by"
        if one.type == F.TYPE_MESSAGE and one.message_type.full_name != other.message_type.full_name:
            return (
                f"field {one.name!r}: it is a {other.message_type.full_name}, and {one.message_type.full_name} is read"
            )
    return ""


def _decoded(message: Descriptor, bodies: Bodies, rows: np.ndarray, wanted: pa.Schema) -> Decoded:
    bad = dict[int, str]()
    for _ in range(MOST_PASSES):
        if not len(rows):
            break
        try:
            found = read_fields(message, bodies.data, bodies.starts[rows], bodies.ends[rows], wanted.names)
        except Fault as fault:
            bad |= dict.fromkeys(rows[fault.who].tolist(), str(fault))
            rows = np.delete(rows, fault.who)
        except (Unsuited, RecursionError):
            break
        else:
            if not len(wanted):
                return Decoded(pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([]))), rows, bad)
            columns = [found[name] for name in wanted.names]
            return Decoded(pa.RecordBatch.from_arrays(columns, schema=wanted), rows, bad)
    return _alone(message, bodies, rows, wanted, bad)


def _alone(message: Descriptor, bodies: Bodies, rows: np.ndarray, wanted: pa.Schema, bad: dict[int, str]) -> Decoded:
    """Each message by itself, by Google's library, which is the fallback."""
    made = message_factory.GetMessageClass(message)
    kept, batches = [], []
    for row in rows.tolist():
        body = bodies.data[bodies.starts[row] : bodies.ends[row]].tobytes()
        try:
            values = _plain(made.FromString(body), wanted.names)
            batches.append(pa.RecordBatch.from_pylist([values], schema=wanted))
        except (DecodeError, ValueError, OverflowError, pa.ArrowException) as error:
            bad[row] = f"it is not as its schema says: {' '.join(str(error).split())}"
            continue
        kept.append(row)
    together = pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema=wanted)
    return Decoded(together, np.array(kept, np.int64), bad)


def _plain(message: Any, names: Sequence[str] | None = None) -> Any:
    """A message as Python's own values."""
    kind = message.DESCRIPTOR
    if kind.full_name == "google.protobuf.Timestamp":
        return message.seconds * 1_000_000_000 + message.nanos
    if kind.full_name in WRAPPERS:
        return message.value
    found = {}
    for one in kind.fields:
        if names is not None and one.name not in names:
            continue
        value = getattr(message, one.name)
        if is_map(one):
            inner = one.message_type.fields_by_number[2]
            found[one.name] = [(key, _single(inner, item)) for key, item in value.items()]
        elif is_repeated(one):
            found[one.name] = [_single(one, item) for item in value]
        elif one.has_presence and not message.HasField(one.name):
            found[one.name] = default_of(one)
        else:
            found[one.name] = _single(one, value)
    return found


def _single(one: Any, value: Any) -> Any:
    if one.type == F.TYPE_MESSAGE:
        return _plain(value)
    return enum_names(one).get(value, str(value)) if one.type == F.TYPE_ENUM else value
