"""Event time from a field of the messages: what the watermark follows in place of the messages' own timestamps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import TensorSpec
from beamsplit.transforms.block import TIME
from beamsplit.transforms.kafka.blocks import VALUE
from beamsplit.transforms.kafka.messages import parse_values
from beamsplit.transforms.kafka.parsed import ParsedRows
from beamsplit.transforms.kafka.registry.read import ReadRegistered
from beamsplit.transforms.kafka.schema import declared

LATEST_MS = 253_402_300_799_999
"""The end of the year 9999: what is later is no time in milliseconds."""

NONE = -1
"""No time."""

_ZONED = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)$"
_LOCAL = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?$"
_DATE = r"^\d{4}-\d\d-\d\d$"


@dataclass(frozen=True)
class EventTime:
    """Where a message tells its time: milliseconds since 1970, a text in ISO 8601 or, in Arrow, a timestamp."""

    column: str
    format: str
    """Of the messages: json, arrow or tensor."""

    schema: pa.Schema
    """The columns of a message, which bytes of tensors cannot be read without."""

    registered: ReadRegistered | None = None
    """What reads messages whose schemas are in a registry."""

    def of(self, block: pa.RecordBatch) -> tuple[np.ndarray, int]:
        """(milliseconds since 1970 for each message of a block as read, how many have no good time of their own).

        Those have the timestamp of their message. A message of several rows has the earliest time of them.
        """
        found = self._found(block.column(VALUE))
        bad = (found < 0) | (found > LATEST_MS)
        return np.where(bad, block.column(TIME).to_numpy(), found), int(bad.sum())

    def _found(self, values: pa.Array) -> np.ndarray:
        if self.registered is not None:
            return _earliest(self.registered.only(self.column).rows(values), self.column, len(values))
        if self.format == "json":
            return self._in_json(values)
        field = self.schema.field(self.column) if self.format == "tensor" else _arrow_field(self.column, values)
        if field is None:
            return np.full(len(values), NONE)
        schema = self.schema if self.format == "tensor" else pa.schema([field])
        return _earliest(parse_values(self.format, values, schema), self.column, len(values))

    def _in_json(self, values: pa.Array) -> np.ndarray:
        """Numbers or texts, whichever the first has; those that are the other are read once more."""
        kinds = [pa.int64(), pa.string()]
        if _is_text(self.column, values):
            kinds.reverse()
        times = np.full(len(values), NONE)
        left = np.arange(len(values))
        for kind in kinds:
            if not len(left):
                break
            part = values if len(left) == len(values) else values.take(pa.array(left))
            rows = parse_values("json", part, pa.schema([pa.field(self.column, kind)]))
            times[left] = _earliest(rows, self.column, len(left))
            left = left[sorted(rows.bad)]
        return times


def _is_text(column: str, values: pa.Array) -> bool:
    """Whether the first message has a text there."""
    try:
        found = json.loads(values[0].as_py() or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get(column), str)


def _arrow_field(column: str, values: pa.Array) -> pa.Field | None:
    """The field as the first message that can be read has it."""
    for value in values:
        try:
            with pa.ipc.open_stream(value.as_buffer()) as reader:
                at = reader.schema.get_field_index(column)
                return reader.schema.field(at) if at >= 0 else None
        except (pa.ArrowException, OSError, ValueError, AttributeError):
            continue  # It goes to the errors when it is read.
    return None


def _earliest(rows: ParsedRows, column: str, count: int) -> np.ndarray:
    """The earliest time of each message's rows; `NONE` where it has none."""
    times = times_of(rows.batch.column(column))
    if rows.sources is None:
        return times
    latest = np.iinfo(np.int64).max
    found = np.full(count, latest)
    np.minimum.at(found, rows.sources, np.where(times < 0, latest, times))
    return np.where(found == latest, NONE, found)


def times_of(column: pa.Array) -> np.ndarray:
    """Milliseconds since 1970 of a column of whole numbers, texts or timestamps; `NONE` where there is none.

    Times without a zone are UTC.

    >>> times_of(pa.array(["1970-01-01T00:00:01Z", "1970-01-01T01:00+01:00", "soon", None])).tolist()
    [1000, 0, -1, -1]
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _times_of_texts(column)
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    elif pa.types.is_integer(kind):
        column = column.cast(pa.int64(), safe=False)
    else:
        return np.full(len(column), NONE)
    return column.fill_null(NONE).to_numpy(zero_copy_only=False)


def _times_of_texts(column: pa.Array) -> np.ndarray:
    import pyarrow.compute as pc

    zoned, local, date = (pc.match_substring_regex(column, pattern) for pattern in (_ZONED, _LOCAL, _DATE))
    full = pc.case_when(
        pc.make_struct(zoned, local, date),
        column,
        pc.binary_join_element_wise(column, "Z", ""),
        pc.binary_join_element_wise(column, "T00:00Z", ""),
    )
    times = np.full(len(column), NONE)
    _cast(full, 0, times)
    return times


def _cast(texts: pa.Array, offset: int, times: np.ndarray) -> None:
    """Cast all at once, and by halves where one is no time after all (a 13th month)."""
    try:
        made = texts.cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ms", "UTC"), safe=False)
    except pa.ArrowInvalid:
        if len(texts) > 1:
            half = len(texts) // 2
            _cast(texts[:half], offset, times)
            _cast(texts[half:], offset + half, times)
        return
    times[offset : offset + len(texts)] = made.cast(pa.int64()).fill_null(NONE).to_numpy(zero_copy_only=False)


def check_event_time(column: str, format: str, fields: Mapping[str, TensorSpec], schema: pa.Schema) -> EventTime:
    """What `--event_time` asks for.

    Args:
        column: as the user gave it.
        format: of the messages.
        fields: of a message, as declared or wanted.
        schema: the columns that they become.

    Raises:
        UsageError: messages of that format have no such field, or it is no time.
    """
    if format == "raw":
        raise UsageError(f"--event_time {column} is a field, and messages of --format raw have none; use json or arrow")
    spec = fields.get(column)
    wanted = "int64" if format == "tensor" else "int64 or string"
    if format == "tensor" and spec is None:
        names = ",".join(map(declared, fields.values()))
        raise UsageError(
            f"--event_time {column} is none of the message's tensors ({', '.join(fields)}); "
            f"declare it, --schema {names},{column}:int64"
        )
    others = [declared(one) for name, one in fields.items() if name != column]
    if spec is not None and (spec.dtype not in wanted.split(" or ") or spec.shape):
        raise UsageError(
            f"--event_time {column}: the field is {spec}, and a time is {wanted}; "
            f"name another, or declare --schema {','.join([*others, f'{column}:int64'])}"
        )
    return EventTime(column, format, schema)
