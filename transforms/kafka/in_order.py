"""Puts in order what other workers made of a partition's messages: no Beam.

    source      range [0,3)    range [3,5)    range [5,9)        in this order; each names its offsets
    comes       rows 3 4 | range [3,5) | range [0,3) | rows 0 2 | error 1 | rows 5 6 ...
    complete                                                    [0,3), [3,5)

A range is complete when each of its offsets has an output or an error, and its turn is when all below its begin was
complete. So it does not matter how a block was cut into micro-batches, which worker had them, and who was first.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.shard_step import from_bytes, to_bytes
from beamsplit.transforms.kafka.gaps import Gap

Piece: TypeAlias = "tuple[object, ...]"
"""What one element tells of a partition, as values that a coder of plain ones knows."""

RANGE, ROWS, FAILED_ROW = 0, 1, 2
"""What a piece is, its first value."""


class OffsetRange(NamedTuple):
    """Offsets that the source has read, in one block."""

    begin: int
    end: int

    offsets: bytes
    """Those that have a message, int64, ascending: others were compacted away, or mark where a transaction ended."""

    begins_reading: bool = False
    """Whether its reader began here: what is below was not read by it."""

    gaps: tuple[Gap, ...] = ()
    """What was found to be gone before these messages."""


class Complete(NamedTuple):
    """A range whose messages all have come out."""

    range: OffsetRange

    blocks: list[pa.RecordBatch]
    """Rows with predictions, by offset; of what is below where the group was, some or none."""

    errors: list[RowError]


def range_piece(one: OffsetRange) -> Piece:
    """The piece of a range."""
    return (RANGE, one.begin, one.end, one.offsets, one.begins_reading, tuple(tuple(gap) for gap in one.gaps))


def rows_piece(block: pa.RecordBatch) -> Piece:
    """The piece of rows of one partition."""
    return (ROWS, block.column(ORIGIN_ROW).to_numpy().tobytes(), to_bytes(block))


def error_piece(error: RowError) -> Piece:
    """The piece of a row that failed."""
    return (FAILED_ROW, np.int64(error.row).tobytes(), error.file, int(error.row), error.stage, error.reason)


class Arrivals:
    """What has come of one partition and waits for its turn.

    >>> one, seven = (np.array(offsets).tobytes() for offsets in ([1], [7]))
    >>> arrivals = Arrivals()
    >>> arrivals.add(range_piece(OffsetRange(5, 9, seven)))
    >>> arrivals.add(error_piece(RowError("in/0", 7, "read", "bad")))
    >>> list(arrivals.take(0))
    []
    >>> arrivals.add(range_piece(OffsetRange(0, 5, one)))
    >>> arrivals.add(error_piece(RowError("in/0", 1, "read", "bad")))
    >>> [each.range.begin for each in arrivals.take(0)]
    [0, 5]
    """

    def __init__(self, waiting: Iterable[Piece] = ()):
        self._begins: list[int] = []
        self._ranges: dict[int, OffsetRange] = {}
        self._parts: dict[int, list[Piece]] = {}  # by the begin of their range
        self._early: list[Piece] = []  # their range has not come
        self._count = 0
        for piece in waiting:
            self.add(piece)

    def __len__(self) -> int:
        """How many pieces wait."""
        return self._count

    def add(self, piece: Piece) -> None:
        """Take in a piece; one that has come before counts once."""
        self._count += 1
        if piece[0] == RANGE:
            begin, end, offsets, begins, gaps = piece[1:]
            one = OffsetRange(begin, end, offsets, begins, tuple(Gap(*gap) for gap in gaps))  # type: ignore[arg-type, attr-defined]
            known = self._ranges.get(one.begin)
            if known is None:
                bisect.insort(self._begins, one.begin)
            else:
                self._count -= 1
            if known is None or known.end < one.end:
                self._ranges[one.begin] = one
            early, self._early = self._early, []
        else:
            early = [piece]
        for part in early:
            at = self._range_of(_offsets(part[1])[0])
            if at is None:
                self._early.append(part)
            else:
                self._parts.setdefault(at, []).append(part)

    def _range_of(self, offset: int) -> int | None:
        at = bisect.bisect_right(self._begins, offset) - 1
        return self._begins[at] if at >= 0 and offset < self._ranges[self._begins[at]].end else None

    def begins_above(self, done: int | None) -> int | None:
        """Where a reader began, if that is what comes next and is above what is done; else None."""
        if done is None or not self._begins:
            return None
        one = self._ranges[self._begins[0]]
        return one.begin if one.begins_reading and one.begin > done else None

    def take(self, done: int | None) -> Iterator[Complete]:
        """The ranges whose turn it is, in order: they are complete, and all below is done. They wait no longer.

        Args:
            done: offsets below are done; None where that is not known, and a reader's first range is the first.
        """
        while self._begins:
            one = self._ranges[self._begins[0]]
            if not one.begins_reading and (done is None or one.begin > done):
                return
            parts = self._parts.get(one.begin, [])
            wanted = _offsets(one.offsets)
            if not _all_there(wanted if done is None else wanted[wanted >= done], parts):
                return
            done = one.end if done is None else max(done, one.end)
            begin = self._begins.pop(0)
            del self._ranges[begin]
            self._count -= 1 + len(self._parts.pop(begin, []))
            yield Complete(one, _by_offset(parts), _errors(parts))
        if done is not None and self._early:
            # Told once more of what was complete: an error beside one that came before.
            left = [part for part in self._early if _offsets(part[1])[-1] >= done]
            self._count -= len(self._early) - len(left)
            self._early = left

    def waiting(self) -> list[Piece]:
        """All that waits."""
        parts = [part for parts in self._parts.values() for part in parts]
        return [*map(range_piece, self._ranges.values()), *parts, *self._early]

    def missing(self) -> str:
        """The messages that what waits is behind of, in words.

        >>> arrivals = Arrivals()
        >>> arrivals.add(range_piece(OffsetRange(5, 9, np.array([5, 7]).tobytes())))
        >>> arrivals.add(error_piece(RowError("in/0", 5, "read", "bad")))
        >>> arrivals.missing()
        '1 of 2 messages of offsets 5 to 8, from 7 on'
        """
        if not self._begins:
            return f"messages about offset {_offsets(self._early[0][1])[0]}, of which the source has not told"
        one = self._ranges[self._begins[0]]
        wanted = _offsets(one.offsets)
        lost = np.setdiff1d(wanted, _there(self._parts.get(one.begin, ())))
        if not len(lost):
            return f"messages below offset {one.begin}"
        return f"{len(lost)} of {len(wanted)} messages of offsets {one.begin} to {one.end - 1}, from {lost[0]} on"


def _offsets(held: object) -> np.ndarray:
    assert isinstance(held, bytes)
    return np.frombuffer(held, np.int64)


def _there(parts: Sequence[Piece]) -> np.ndarray:
    return np.unique(np.concatenate([_offsets(part[1]) for part in parts])) if parts else np.zeros(0, np.int64)


def _all_there(wanted: np.ndarray, parts: Sequence[Piece]) -> bool:
    # Counted first: only the last piece of a range has them looked at one by one.
    if sum(len(part[1]) for part in parts) < 8 * len(wanted):  # type: ignore[misc, arg-type]
        return False
    return bool(np.isin(wanted, _there(parts)).all())


def _by_offset(parts: Sequence[Piece]) -> list[pa.RecordBatch]:
    """The rows by offset, as few blocks: those that lie behind one another stay as they are."""
    blocks = [from_bytes(part[2]) for part in parts if part[0] == ROWS]  # type: ignore[arg-type]
    blocks.sort(key=lambda block: block.column(ORIGIN_ROW)[0].as_py())
    offsets = [block.column(ORIGIN_ROW).to_numpy() for block in blocks]
    joined = np.concatenate(offsets) if blocks else np.zeros(0, np.int64)
    if (np.diff(joined) > 0).all():
        return blocks
    (together,) = pa.Table.from_batches(blocks).unify_dictionaries().combine_chunks().to_batches()
    _, order = np.unique(joined, return_index=True)
    return [together.take(pa.array(order))]


def _errors(parts: Sequence[Piece]) -> list[RowError]:
    """The errors by offset, each once."""
    found = dict.fromkeys(RowError(*part[2:]) for part in parts if part[0] == FAILED_ROW)  # type: ignore[arg-type]
    return sorted(found, key=lambda error: error.row)
