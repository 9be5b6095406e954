"""What stands before a message's own bytes: a byte 0, then the id of its schema in 4 bytes, big-endian.

value    0 | 0 0 0 7 | ...           schema 7
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.kafka.parsed import EMPTY

HEAD_BYTES = 5

UNFRAMED = (
    "the message does not begin with the byte 0 and a schema's id, as those do that a registry's serializer has written"
)


class Bodies(NamedTuple):
    """Messages without their frames."""

    data: np.ndarray
    """uint8, in which they lie."""

    starts: np.ndarray
    """int64: where each begins."""

    ends: np.ndarray
    """int64: where it ends."""


class Framed(NamedTuple):
    """The messages of a block that have a frame, in order, and why the others have none."""

    data: np.ndarray
    """uint8: the bytes of all messages, as they lie in memory."""

    starts: np.ndarray
    """int64: where each message's own bytes begin."""

    ends: np.ndarray
    """int64: where they end."""

    ids: np.ndarray
    """int64: of the schemas."""

    rows: np.ndarray
    """int64: which message of the block each is."""

    bad: dict[int, str]
    """Message -> what is wrong."""


def unframe(values: pa.Array) -> Framed:
    """Take the frames off values (binary).

    >>> framed = unframe(pa.array([b"\\0\\0\\0\\0\\7hi", b"hi", None]))
    >>> framed.ids.tolist(), bytes(framed.data[framed.starts[0] : framed.ends[0]]), sorted(framed.bad)
    ([7], b'hi', [1, 2])
    """
    _, offsets, data = values.buffers()
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    where = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    starts, ends = where[:-1], where[1:]
    good = ends - starts >= HEAD_BYTES
    if len(bytes_):
        good &= bytes_[np.minimum(starts, len(bytes_) - 1)] == 0
    nulls = np.asarray(values.is_null()) if values.null_count else np.zeros(len(values), bool)
    bad = dict.fromkeys(np.flatnonzero(~good & ~nulls).tolist(), UNFRAMED)
    bad |= dict.fromkeys(np.flatnonzero(nulls).tolist(), EMPTY)
    rows = np.flatnonzero(good & ~nulls)
    starts, ends = starts[rows], ends[rows]
    ids = np.zeros(len(rows), np.int64)
    for at in range(1, HEAD_BYTES):
        ids = ids << 8 | bytes_[starts + at]
    return Framed(bytes_, starts + HEAD_BYTES, ends, ids, rows, bad)


def frame(id: int) -> bytes:
    """The frame of messages of a schema.

    >>> frame(258)
    b'\\x00\\x00\\x00\\x01\\x02'
    """
    return b"\0" + id.to_bytes(HEAD_BYTES - 1, "big")
