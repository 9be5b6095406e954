"""The messages of a block read side by side: each step of a schema reads the next value of all of them at once.

    message 0   [ 2 | h i | 6 ]          at   0 -> 1 -> 3 -> 4
    message 1   [ 0 | 4 ]                at   5 -> 6 -> 6 -> 7
                  length  text  number

`at` (int64) says where each message is read on, `who` (int64, ascending) which messages these are.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

MOST_VARINT = 10
"""Bytes of a number of 64 bits."""

CUT = "it is cut short"


class Fault(Exception):
    """Messages that are not what their schema says."""

    def __init__(self, who: np.ndarray, reason: str) -> None:
        super().__init__(reason)
        self.who = who
        """Which."""


class Cursors:
    """The bytes of messages.

    Args:
        data: uint8, in which the messages lie.
        ends: where each of them ends.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data = data if len(data) else np.zeros(1, np.uint8)
        self.ends = ends
        self._last = len(self.data) - 1

    def need(self, at: np.ndarray, who: np.ndarray, count: np.ndarray | int) -> None:
        """Raise where a message has not so many bytes left.

        Raises:
            Fault: some have not.
        """
        left = self.ends[who] - at
        wrong = (left < count) | (np.asarray(count) < 0)
        if wrong.any():
            raise Fault(who[wrong], CUT)

    def bytes_at(self, at: np.ndarray, width: int) -> np.ndarray:
        """`width` bytes of each, [messages, width]; `need` has looked that they are there."""
        return self.data[at[:, None] + np.arange(width)]

    def varints(self, at: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(uint64 numbers of 7 bits a byte, the lowest first; where they end).

        Raises:
            Fault: one is cut short, or too long.
        """
        self.need(at, who, 1)
        first = self.data[at]
        values, after = (first & 0x7F).astype(np.uint64), at + 1
        more = np.flatnonzero(first >= 0x80)
        for place in range(1, MOST_VARINT):
            if not len(more):
                break
            self.need(after[more], who[more], 1)
            part = self.data[after[more]]
            values[more] |= (part & 0x7F).astype(np.uint64) << np.uint64(7 * place)
            after[more] += 1
            more = more[part >= 0x80]
        if len(more):
            raise Fault(who[more], "a number in it is longer than 10 bytes")
        return values, after

    def pieces(self, starts: np.ndarray, lengths: np.ndarray) -> pa.Array:
        """Pieces of the data as binary values; `starts` ascend and pieces do not overlap.

        Every other value of an array of pieces and gaps, which Arrow copies out.
        """
        if not len(starts):
            return pa.array([], pa.binary())
        large = len(self.data) > np.iinfo(np.int32).max
        offsets = np.empty(2 * len(starts), np.int64 if large else np.int32)
        offsets[0::2], offsets[1::2] = starts, starts + lengths
        kind = pa.large_binary() if large else pa.binary()
        parts = [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        all_of_it = pa.Array.from_buffers(kind, len(offsets) - 1, parts)
        return all_of_it.take(pa.array(np.arange(0, len(offsets), 2))).cast(pa.binary())

    def joined(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The same pieces behind one another, uint8."""
        if len(starts) == 1:
            return self.data[int(starts[0]) : int(starts[0] + lengths[0])]
        data = self.pieces(starts, lengths).buffers()
        return np.frombuffer(data[2], np.uint8) if data[2] is not None else np.empty(0, np.uint8)

    @cached_property
    def _stops(self) -> np.ndarray:
        """Where a number of 7 bits a byte would end."""
        return np.flatnonzero(self.data < 0x80)

    def numbers_between(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """How many numbers of 7 bits a byte end in each of these pieces."""
        counts: np.ndarray = np.searchsorted(self._stops, end) - np.searchsorted(self._stops, begin)
        return counts

    def many_varints(
        self, at: np.ndarray, who: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`counts` (above 0) numbers behind one another in each message.

        Returns:
            (uint64 numbers, message by message; where those of each message end; how many bytes each number has).

        Raises:
            Fault: some are cut short, or too long.
        """
        first = np.searchsorted(self._stops, at)
        last = first + counts - 1
        there = last < len(self._stops)
        wrong = ~there
        after = np.where(there, self._stops[np.minimum(last, max(len(self._stops) - 1, 0))] + 1, 0)
        wrong |= after > self.ends[who]
        if wrong.any():
            raise Fault(who[wrong], CUT)
        number = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        stops = self._stops[np.repeat(first, counts) + number]
        begins = np.empty_like(stops)
        begins[1:] = stops[:-1] + 1
        begins[number == 0] = at
        lengths = stops - begins + 1
        if (lengths > MOST_VARINT).any():
            raise Fault(np.unique(np.repeat(who, counts)[lengths > MOST_VARINT]), "a number is longer than 10 bytes")
        values = np.zeros(len(stops), np.uint64)
        for place in range(int(lengths.max(initial=0))):
            some = np.flatnonzero(lengths > place) if place else slice(None)
            part = (self.data[begins[some] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
            values[some] |= part
        return values, after, lengths


def zigzag(values: np.ndarray) -> np.ndarray:
    """uint64 as the signed numbers that they stand for.

    >>> zigzag(np.array([0, 1, 2, 3], np.uint64)).tolist()
    [0, -1, 1, -2]
    """
    return (values >> np.uint64(1)).astype(np.int64) ^ -((values & np.uint64(1)).astype(np.int64))
