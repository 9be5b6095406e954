from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.pipelines.running.stream_news import ShowNews
from beamsplit.transforms.block_coder import BlockCoder
from beamsplit.transforms.kafka.blocks import RAW_SCHEMA, with_ranges
from beamsplit.transforms.kafka.errors import error_json
from beamsplit.transforms.kafka.gap_errors import GapTeller, gap_error
from beamsplit.transforms.kafka.gaps import (
    Gap,
    GapFoundError,
    check_gaps,
    find_gap,
    gaps_of,
    lost_messages,
    no_messages,
    read_gaps,
    reason_to_end,
    with_gaps,
    write_gaps,
)

GONE = Gap("in", 3, 100, 150, 400)
ANEW = Gap("in", 3, 100, 0, 20)


@pytest.mark.parametrize(
    ("begin", "log", "gap"),
    [
        (100, (150, 400), GONE),
        (100, (0, 20), ANEW),
        (100, (150, 150), Gap("in", 3, 100, 150, 150)),
        (100, (0, 0), Gap("in", 3, 100, 0, 0)),
        (0, (0, 0), None),
        (150, (150, 400), None),
        (400, (150, 400), None),
        (400, (400, 400), None),
    ],
)
def test_only_the_ends_of_a_log_tell_of_a_gap(begin: int, log: tuple[int, int], gap: Gap | None):
    assert find_gap("in", 3, begin, log) == gap


def test_an_error_tells_of_the_range():
    assert json.loads(error_json(gap_error(GONE))) == {
        "topic": "in",
        "partition": 3,
        "offset": 100,
        "stage": "gap",
        "code": "gone",
        "reason": "offsets 100 to 149 are gone, deleted before they were read (retention, or deleted records): 50 "
        "messages at most",
        "last_offset": 149,
    }
    assert "last_offset" not in json.loads(error_json(gap_error(ANEW)))
    assert "ends at offset 20, below 100, where reading was: it was made anew" in gap_error(ANEW).reason


def test_gaps_travel_with_a_block_that_may_have_no_messages():
    block = with_gaps(with_ranges(no_messages(), {3: (100, 150)}), [GONE, ANEW])
    coder = BlockCoder()
    back = coder.decode(coder.encode(block))
    assert gaps_of(back) == [GONE, ANEW] and back.schema == RAW_SCHEMA and back.num_rows == 0
    assert gaps_of(no_messages()) == []
    assert gaps_of(pa.record_batch({"x": [1]})) == []


def test_a_job_ends_at_a_gap_if_it_is_told_to():
    check_gaps([GONE], "continue")
    check_gaps([], "fail")
    with pytest.raises(GapFoundError, match=r"--on_gap fail: in/3: offsets 100 to 149 .*, and 1 more partitions have"):
        check_gaps([GONE, ANEW], "fail")


@pytest.mark.parametrize("gap", [GONE, ANEW])
@pytest.mark.parametrize("on_gap", ["continue", "fail"])
@pytest.mark.parametrize("transactional", [False, True])
def test_a_stream_of_transactions_cannot_go_back_to_the_beginning(gap: Gap, on_gap: str, transactional: bool):
    reason = reason_to_end(gap, on_gap, transactional)
    assert (reason is not None) == (on_gap == "fail" or (transactional and gap is ANEW))


def test_workers_leave_word_of_each_gap_once(tmp_path: Path):
    tell = GapTeller(str(tmp_path))
    assert [error.row for error in tell([GONE])] == [100]
    tell([GONE, ANEW])
    assert tell([]) == []
    assert read_gaps(str(tmp_path)) == [ANEW, GONE]
    write_gaps(str(tmp_path / "gone"), [GONE])
    assert GapTeller(None)([ANEW])[0].stage == "gap"


@pytest.mark.parametrize("quiet", [False, True])
def test_each_gap_is_shown_once_while_the_stream_runs(tmp_path: Path, quiet: bool):
    shown = io.StringIO()
    with ShowNews(str(tmp_path), quiet, shown):
        write_gaps(str(tmp_path), [GONE])
        write_gaps(str(tmp_path), [GONE, ANEW])
    assert sorted(shown.getvalue().splitlines()) == sorted(f"warning: {gap.line}" for gap in (GONE, ANEW))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_lost_messages_are_counted_once(found: list[tuple[int, int, int]]):
    gaps = [Gap("in", partition, begin, next, 99) for partition, begin, next in found]
    assert lost_messages(gaps) == len({(gap.partition, at) for gap in gaps for at in range(gap.begin, gap.next)})
