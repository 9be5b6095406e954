"""A stream of rows that a test lets go one after the other, read by workers in the test's own process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp


class Person(NamedTuple):
    id: int
    a: float
    b: float
    c: float
    d: float


def person(number: int) -> Person:
    return Person(number, number % 7 - 3.0, number % 5 - 2.0, number % 3 - 1.0, 0.5)


def seconds(number: int) -> int:
    """The time of a row: three in a row, and a pause."""
    return 100 * (number // 3) + 7 * (number % 3)


class Tap:
    """How many rows of a stream may come, and whether it has an end."""

    taps: dict[int, Tap] = {}  # noqa: RUF012
    numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(Tap.numbers)
        self.rows, self.ended, self.lock = 0, False, threading.Lock()
        Tap.taps[self.number] = self

    def let(self, rows: int) -> None:
        """Let so many more come."""
        with self.lock:
            self.rows += rows

    def end(self) -> None:
        self.ended = True


class Mark(CheckpointMark):
    def __init__(self, next_row: int):
        self.next_row = next_row

    def finalize_checkpoint(self) -> None:
        """Nothing is kept for rows that may be read again."""


class Reader(UnboundedReader):
    def __init__(self, tap: Tap, next_row: int):
        self._tap, self._next = tap, next_row

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        if self._next >= self._tap.rows:
            return False
        self._next += 1
        return True

    def get_current(self) -> int:
        return self._next - 1

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp(seconds(self._next - 1))

    def get_watermark(self) -> Timestamp:
        over = self._tap.ended and self._next >= self._tap.rows
        return MAX_TIMESTAMP if over else Timestamp(seconds(self._next))

    def get_checkpoint_mark(self) -> Mark:
        return Mark(self._next)

    def close(self) -> None:
        """Nothing is open."""


class Rows(UnboundedSource):
    """Numbers 0, 1, ..., as many as the tap lets."""

    def __init__(self, tap: Tap):
        self._number = tap.number

    def split(self, desired_num_splits: int, options: Any = None) -> list[UnboundedSource]:
        return [self]

    def create_reader(self, options: Any, checkpoint_mark: Mark | None) -> Reader:
        return Reader(Tap.taps[self._number], checkpoint_mark.next_row if checkpoint_mark else 0)

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return coders.PickleCoder()


class Placed(beam.DoFn):
    """(the element, its time, its window's begin and end), of rows and batches."""

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        yield element, float(timestamp), float(window.start), float(window.end)
