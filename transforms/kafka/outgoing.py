"""Messages on their way to a topic, and those that it will not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from beamsplit.transforms.block import origin_of
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.failures.summary import WRITE
from beamsplit.transforms.kafka.config import Topic

Headers = Sequence["tuple[str, bytes | None]"]


class Messages(NamedTuple):
    """Some messages for one topic."""

    values: Sequence[bytes]
    keys: Sequence[bytes | None]
    headers: Sequence[Headers]
    times: Sequence[int]
    """Milliseconds since 1970; -1 is the time of sending."""

    topic: Topic | None = None
    """None is the topic of whoever sends them."""

    block: pa.RecordBatch | None = None
    """The rows that they were made of, which tell their origin; None where they are errors."""

    def one(self, row: int) -> tuple[bytes, bytes | None, Headers, int]:
        """Value, key, headers and time of a message."""
        return self.values[row], self.keys[row], self.headers[row], self.times[row]

    def without(self, rows: set[int]) -> Messages:
        """Those at other positions."""
        return self.take([row for row in range(len(self.values)) if row not in rows])

    def take(self, rows: Sequence[int]) -> Messages:
        """Those at these positions."""
        block = None if self.block is None else self.block.take(pa.array(rows, pa.int64()))
        return Messages(
            [self.values[row] for row in rows],
            [self.keys[row] for row in rows],
            [self.headers[row] for row in rows],
            [self.times[row] for row in rows],
            self.topic,
            block,
        )

    def error(self, row: int, reason: str) -> RowError:
        """The error of a message that was refused."""
        assert self.block is not None
        file, number = origin_of(self.block, row)
        return RowError(file, number, WRITE, reason)


class Refusal(NamedTuple):
    """A message that a broker or the client will not take."""

    messages: Messages
    row: int
    reason: str

    accused: bool = True
    """Whether the broker named it; else it was refused for another of its batch."""
