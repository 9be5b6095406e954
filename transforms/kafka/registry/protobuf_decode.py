"""Bodies of messages in Protobuf as columns: all messages side by side, the first field of each, then the second, ...

message 0   tag x | 12 bytes | tag id | 7            what comes of a field, over all goes, is put together at the end
message 1   tag id | 9                               fields that are not known, or not wanted, are passed over
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from beamsplit.transforms.kafka.registry.cursors import CUT, Cursors, Fault, zigzag
from beamsplit.transforms.kafka.registry.protobuf_types import (
    CHARACTERS,
    ENUM,
    SINGLE,
    TIMESTAMP,
    WIDTHS,
    WRAPPERS,
    default_of,
    enum_names,
    is_map,
    is_repeated,
)

F = FieldDescriptor
VARINT, WIDE, LENGTH, NARROW = 0, 1, 2, 5
"""How a value is laid out, as its tag says."""

MANY_GOES, FEW = 64, 32
"""After so many goes with fewer messages on the average, each is quicker read alone."""


class Unsuited(Exception):
    """These messages are better read one by one."""


class Part(NamedTuple):
    """Values of a field that came in one go."""

    rows: np.ndarray
    wire: int
    values: np.ndarray
    """Numbers; or where the values begin."""

    lengths: np.ndarray | None


@dataclass
class _Goes:
    """What comes of the fields of messages."""

    parts: dict[int, list[Part]] = field(default_factory=dict)

    def add(self, number: int, part: Part) -> None:
        self.parts.setdefault(number, []).append(part)


def read_fields(
    message: Descriptor, data: np.ndarray, starts: np.ndarray, stops: np.ndarray, wanted: Collection[str]
) -> dict[str, pa.Array]:
    """Fields of messages.

    Args:
        message: what they are.
        data: uint8, in which they lie.
        starts: where each begins, ascending.
        stops: where it ends.
        wanted: names of fields that can be read.

    Raises:
        Fault: some messages are not what they should be; numbered from 0.
        Unsuited: they are better read one by one.
    """
    fields = {one.number: one for one in message.fields if one.name in wanted}
    required = {one.number: one for one in message.fields if _is_required(one)}
    cursors = Cursors(data, stops)
    goes = _all_goes(cursors, starts.copy(), stops, {*fields, *required})
    for number, one in required.items():
        there = np.zeros(len(starts), bool)
        for part in goes.parts.get(number, ()):
            there[part.rows] = True
        if not there.all():
            raise Fault(np.flatnonzero(~there), f"it lacks the field {one.name!r}, which is required")
    return {one.name: _column(one, goes.parts.get(number, []), cursors, len(starts)) for number, one in fields.items()}


def _is_required(one: Any) -> bool:
    found = getattr(one, "is_required", None)
    return bool(found) if found is not None else one.label == F.LABEL_REQUIRED


def _all_goes(cursors: Cursors, at: np.ndarray, stops: np.ndarray, kept: Collection[int]) -> _Goes:
    goes, left, count, done = _Goes(), np.arange(len(at)), 0, 0
    while True:
        left = left[at[left] < stops[left]]
        if not len(left):
            return goes
        count, done = count + 1, done + len(left)
        if count > MANY_GOES and done < FEW * count:
            raise Unsuited
        tags, after = cursors.varints(at[left], left)
        kinds = [int(tags[0])] if (tags == tags[0]).all() else np.unique(tags).tolist()
        for tag in kinds:
            some = slice(None) if len(kinds) == 1 else np.flatnonzero(tags == np.uint64(tag))
            rows, begin = left[some], after[some]
            part, end = _value(cursors, rows, begin, tag)
            if tag >> 3 in kept:
                goes.add(tag >> 3, part)
            at[rows] = end


def _value(cursors: Cursors, rows: np.ndarray, begin: np.ndarray, tag: int) -> tuple[Part, np.ndarray]:
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29 or wire in (6, 7):
        raise Fault(rows, "a tag in it is none of Protobuf")
    if wire in (3, 4):
        raise Unsuited
    if wire == VARINT:
        values, end = cursors.varints(begin, rows)
        return Part(rows, wire, values, None), end
    if wire == LENGTH:
        told, begin = cursors.varints(begin, rows)
        if (told > np.uint64(1 << 31)).any():
            raise Fault(rows[told > np.uint64(1 << 31)], CUT)
        lengths = told.astype(np.int64)
    else:
        lengths = np.full(len(rows), 8 if wire == WIDE else 4)
    cursors.need(begin, rows, lengths)
    return Part(rows, wire, begin, lengths), begin + lengths


def _wire_of(one: Any) -> int:
    if one.type in WIDTHS:
        return WIDE if np.dtype(WIDTHS[one.type]).itemsize == 8 else NARROW
    return LENGTH if one.type in CHARACTERS or one.type == F.TYPE_MESSAGE else VARINT


def _column(one: Any, parts: list[Part], cursors: Cursors, count: int) -> pa.Array:
    """The column of a field. What has another layout than its type counts as not known, as in Protobuf itself."""
    wire = _wire_of(one)
    if is_repeated(one):
        fits = [part for part in parts if part.wire in (wire, LENGTH)]
        return _lists(one, fits, cursors, count)
    parts = [part for part in parts if part.wire == wire]
    there = np.zeros(count, bool)
    for part in parts:
        if one.type == F.TYPE_MESSAGE and there[part.rows].any():
            raise Unsuited  # Several are merged.
        there[part.rows] = True
    rows = np.flatnonzero(there)
    values, lengths = np.zeros(count, np.uint64 if wire == VARINT else np.int64), np.zeros(count, np.int64)
    for part in parts:  # The last one counts.
        values[part.rows] = part.values
        if part.lengths is not None:
            lengths[part.rows] = part.lengths
    made = _values(one, cursors, rows, values[rows], lengths[rows])
    if len(rows) == count:
        return made
    spread = made.take(pa.array(np.cumsum(there) - 1, mask=~there))
    default = default_of(one)
    if default is None:
        return spread
    if pa.types.is_dictionary(spread.type):
        return pc.fill_null(spread.dictionary_decode(), default).dictionary_encode()
    return pc.fill_null(spread, pa.scalar(default, spread.type))


def _values(one: Any, cursors: Cursors, rows: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    """Values, each of one of these messages, in order: of numbers themselves, of others where they lie."""
    if one.type in WIDTHS:
        dtype = np.dtype(WIDTHS[one.type])
        return pa.array(cursors.bytes_at(values, dtype.itemsize).reshape(-1).view(dtype))
    if one.type in CHARACTERS:
        return cursors.pieces(values, lengths).view(SINGLE[one.type])
    if one.type == F.TYPE_MESSAGE:
        return _messages(one.message_type, cursors, rows, values, values + lengths)
    return _numbers(one, rows, values)


def _numbers(one: Any, rows: np.ndarray, values: np.ndarray) -> pa.Array:
    if one.type == F.TYPE_BOOL:
        return pa.array(values != 0)
    if one.type == F.TYPE_ENUM:
        return _symbols(one, values.view(np.int64))
    if one.type in (F.TYPE_UINT64, F.TYPE_UINT32):
        wrong = values > np.uint64(2**32 - 1) if one.type == F.TYPE_UINT32 else np.zeros(len(values), bool)
        made = values
    else:
        made = zigzag(values) if one.type in (F.TYPE_SINT32, F.TYPE_SINT64) else values.view(np.int64)
        narrow = one.type in (F.TYPE_INT32, F.TYPE_SINT32)
        wrong = made != made.astype(np.int32) if narrow else np.zeros(len(values), bool)
    if wrong.any():
        raise Fault(np.unique(rows[wrong]), f"the number in its field {one.name!r} is larger than {SINGLE[one.type]}")
    return pa.array(made.astype(SINGLE[one.type].to_pandas_dtype()))


def _symbols(one: Any, numbers: np.ndarray) -> pa.Array:
    """The names of an enum's numbers; a number that has none as its digits."""
    names = enum_names(one)
    used, which = np.unique(numbers, return_inverse=True)
    texts = [names.get(number, str(number)) for number in used.tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32)), pa.array(texts, pa.string())).cast(ENUM)


def _messages(
    message: Descriptor, cursors: Cursors, rows: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> pa.Array:
    """Messages within messages."""
    try:
        found = read_fields(message, cursors.data, starts, stops, [one.name for one in message.fields])
    except Fault as fault:
        raise Fault(np.unique(rows[fault.who]), str(fault)) from None
    if message.full_name in WRAPPERS:
        return next(iter(found.values()))
    if message.full_name == "google.protobuf.Timestamp":
        seconds, nanos = (found[name].to_numpy().astype(np.int64) for name in ("seconds", "nanos"))
        wrong = (np.abs(seconds) > 9_223_372_035) | (nanos < 0) | (nanos > 999_999_999)
        if wrong.any():
            raise Fault(np.unique(rows[wrong]), "a time in it is before 1678 or after 2261, or none")
        return pa.array(seconds * 1_000_000_000 + nanos).view(TIMESTAMP)
    return pa.StructArray.from_arrays(list(found.values()), names=list(found))


def _lists(one: Any, parts: list[Part], cursors: Cursors, count: int) -> pa.Array:
    """Any number of values a message: each by itself, or many behind one another."""
    scalar = one.type not in CHARACTERS and one.type != F.TYPE_MESSAGE
    rows, counts, columns = [], [], []
    alone = [part for part in parts if not (scalar and part.wire == LENGTH)]
    if not scalar and alone:
        # By message, then in the order in which they came: so they ascend.
        which = np.concatenate([part.rows for part in alone])
        order = np.argsort(which, kind="stable")
        places = np.concatenate([part.values for part in alone])[order]
        lengths = np.concatenate([part.lengths for part in alone if part.lengths is not None])[order]
        values = _values(one, cursors, which[order], places, lengths)
        return _listed(one, values, np.bincount(which, minlength=count))
    for part in parts:
        if part.wire == LENGTH and part.lengths is not None:
            some, number, values = _packed(one, part, cursors)
        else:
            some, number = part.rows, np.ones(len(part.rows), np.int64)
            values = _values(one, cursors, part.rows, part.values, np.zeros(len(part.rows), np.int64))
        rows.append(some)
        counts.append(number)
        columns.append(values)
    if not columns:
        nothing = np.empty(0, np.int64)
        places = np.empty(0, np.uint64 if _wire_of(one) == VARINT else np.int64)
        empty = _values(one, cursors, nothing, places, nothing)
        return _listed(one, empty, np.zeros(count, np.int64))
    lengths = np.zeros(count, np.int64)
    for some, number in zip(rows, counts, strict=True):
        lengths[some] += number
    if len(columns) == 1:
        return _listed(one, columns[0], lengths)
    owners = np.concatenate([np.repeat(some, number) for some, number in zip(rows, counts, strict=True)])
    whole = pa.concat_arrays(columns).take(pa.array(np.argsort(owners, kind="stable")))
    return _listed(one, whole, lengths)


def _packed(one: Any, part: Part, cursors: Cursors) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """(messages, how many values each has, the values) of values behind one another."""
    lengths = part.lengths
    assert lengths is not None
    if one.type in WIDTHS:
        dtype = np.dtype(WIDTHS[one.type])
        wrong = lengths % dtype.itemsize != 0
        if wrong.any():
            raise Fault(part.rows[wrong], f"the values of its field {one.name!r} are cut short")
        return part.rows, lengths // dtype.itemsize, pa.array(cursors.joined(part.values, lengths).view(dtype))
    there = lengths > 0
    rows, begin, end = part.rows[there], part.values[there], (part.values + lengths)[there]
    if not len(rows):
        return rows, lengths[there], _numbers(one, rows, np.empty(0, np.uint64))
    wrong = cursors.data[end - 1] >= 0x80
    if wrong.any():
        raise Fault(rows[wrong], f"the values of its field {one.name!r} are cut short")
    counts = cursors.numbers_between(begin, end)
    values, _, _ = cursors.many_varints(begin, rows, counts)
    return rows, counts, _numbers(one, np.repeat(rows, counts), values)


def _listed(one: Any, values: pa.Array, counts: np.ndarray) -> pa.Array:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    if not is_map(one):
        return pa.ListArray.from_arrays(offsets, values)
    keys, items = values.flatten()
    if items.null_count:
        raise Unsuited  # An entry without its value has an empty message.
    owners = np.repeat(np.arange(len(counts)), counts)
    if pa.table({"row": owners, "key": keys}).group_by(["row", "key"]).aggregate([]).num_rows < len(keys):
        raise Unsuited  # The last of a key counts.
    return pa.MapArray.from_arrays(offsets, keys, items)
