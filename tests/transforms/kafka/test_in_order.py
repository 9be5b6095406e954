"""What other workers made of messages, put in order: whatever is cut how, comes when, and was done before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.in_order import (
    Arrivals,
    OffsetRange,
    Piece,
    error_piece,
    range_piece,
    rows_piece,
)
from tests.transforms.kafka.fake_message import FakeMessage


def told(begin: int, end: int, offsets: list[int], begins_reading: bool = False) -> Piece:
    return range_piece(OffsetRange(begin, end, np.array(offsets, np.int64).tobytes(), begins_reading))


def scored(*offsets: int) -> Piece:
    messages = [FakeMessage(b"%d" % offset, 0, offset, None, None, 1) for offset in offsets]
    return rows_piece(block_of(messages, "in"))


def failed(offset: int) -> Piece:
    return error_piece(RowError("in/0", offset, "infer", "bad"))


class Case(NamedTuple):
    """A log of one partition, as it was read and scored."""

    ranges: list[tuple[int, int, list[int]]]
    pieces: list[Piece]
    """In the order in which they come."""

    failed: set[int]
    done: int
    """Offsets below were done before."""

    restored: list[bool]
    """Whether what waits goes through the runner's state, before each piece."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ends = sorted(draw(st.sets(st.integers(1, 30), min_size=1, max_size=5)))
    present = draw(st.sets(st.integers(0, 29)))
    bad = draw(st.sets(st.sampled_from(sorted(present)))) if present else set()
    ranges, pieces = [], []
    for begin, end in zip([0, *ends], ends, strict=False):
        offsets = [at for at in range(begin, end) if at in present]
        ranges.append((begin, end, offsets))
        pieces.append(told(begin, end, offsets, begins_reading=begin == 0))
        pieces += [failed(at) for at in offsets if at in bad]
        # Micro-batches hold any rows of the block, in any order of the blocks.
        which = {at: draw(st.integers(0, 2)) for at in offsets if at not in bad}
        for number in set(which.values()):
            pieces.append(scored(*(at for at in which if which[at] == number)))
    again = draw(st.lists(st.sampled_from(pieces), max_size=3))
    pieces = draw(st.permutations([*pieces, *again]))
    done = draw(st.integers(0, ends[-1]))
    return Case(ranges, pieces, bad, done, draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces))))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_each_message_comes_out_once_and_in_order_however_its_parts_come(case: Case):
    arrivals, done, came = Arrivals(), case.done, []
    for number, piece in enumerate(case.pieces):
        if case.restored[number]:
            arrivals = Arrivals(arrivals.waiting())
        arrivals.add(piece)
        for one in arrivals.take(done):
            assert one.range.begin <= done, "all below is done"
            rows = [at for block in one.blocks for at in block.column(ORIGIN_ROW).to_pylist() if at >= done]
            errors = [error.row for error in one.errors if error.row >= done]
            assert rows == sorted(rows) and errors == sorted(errors)
            assert set(errors) <= case.failed and not set(rows) & case.failed
            came += sorted(rows + errors)
            done = max(done, one.range.end)
        assert len(arrivals) == len(arrivals.waiting())
    assert came == [at for _, _, offsets in case.ranges for at in offsets if at >= case.done]
    assert done == case.ranges[-1][1]
    # A range that comes again was done: it is not kept for ever.
    list(arrivals.take(done))
    assert len(arrivals) == 0 and arrivals.waiting() == []


def test_rows_that_lie_between_one_another_are_put_in_order_with_what_they_carry():
    arrivals = Arrivals()
    for piece in (scored(1, 4), told(0, 5, [0, 1, 2, 4], True), scored(0, 2)):
        arrivals.add(piece)
    (one,) = arrivals.take(0)
    (block,) = one.blocks
    assert block.column(ORIGIN_ROW).to_pylist() == [0, 1, 2, 4]
    assert block.column("_value").to_pylist() == [b"0", b"1", b"2", b"4"]


def test_where_the_group_has_no_offset_the_first_range_of_a_reader_is_the_first():
    arrivals = Arrivals()
    arrivals.add(told(5, 9, []))
    assert list(arrivals.take(None)) == []
    arrivals.add(told(2, 5, [], begins_reading=True))
    assert [(one.range.begin, one.range.end) for one in arrivals.take(None)] == [(2, 5), (5, 9)]


@pytest.mark.parametrize(
    ("pieces", "done", "said"),
    [
        ([scored(3)], 0, "messages about offset 3, of which the source has not told"),
        ([told(5, 9, [6])], 0, "1 of 1 messages of offsets 5 to 8, from 6 on"),
        ([told(5, 9, [6]), scored(6)], 0, "messages below offset 5"),
    ],
)
def test_what_is_missing_is_told(pieces: list[Piece], done: int, said: str):
    arrivals = Arrivals()
    for piece in pieces:
        arrivals.add(piece)
    assert list(arrivals.take(done)) == []
    assert arrivals.missing() == said


def test_a_reader_that_begins_above_what_is_done_is_known():
    """Offsets that were changed, or another process that was at work since: who asks finds out which."""
    arrivals = Arrivals()
    arrivals.add(told(5, 9, [], begins_reading=True))
    assert [arrivals.begins_above(done) for done in (None, 4, 5, 7)] == [None, 5, None, None]
    assert [one.range.begin for one in arrivals.take(4)] == [5], "whoever admits it refuses"
