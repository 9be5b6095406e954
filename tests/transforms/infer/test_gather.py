"""Parts of blocks of a stream: in any order, repeated before and after the join, lost; what is left behind."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder
from apache_beam.coders.coders import GlobalWindowCoder, _TimerCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker.bundle_processor import OutputTimer
from apache_beam.runners.worker.data_plane import ClosableOutputStream
from apache_beam.testing import test_stream
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import PANE_INFO_UNKNOWN

from beamsplit.runners.beam_patches.timer_hold import without_hold
from beamsplit.transforms.infer.gather import JOINED, Arrival, MeetParts, arrival
from beamsplit.transforms.infer.join import LostPartError, ShardJoin

SHARDS = 3
PATIENCE = 10.0
JOIN = ShardJoin(1, SHARDS, None)  # type: ignore[arg-type]  # where parts meet nobody looks into them
Part = tuple[int, bytes, bytes, tuple[Any, ...]]


def part(shard: int, block: int = 0) -> tuple[bytes, Part]:
    return b"block %d" % block, (shard, b"tensors %d" % shard, b"", ())


@pytest.mark.parametrize("order", itertools.permutations(range(SHARDS)))
def test_each_order_has_one_last_part(order: Sequence[int]):
    assert [arrival(order[:at], shard, SHARDS) for at, shard in enumerate(order)] == [
        *[Arrival.WAITS] * (SHARDS - 1),
        Arrival.LAST,
    ]


def test_what_has_come_before_or_was_joined_is_a_repetition():
    assert arrival([2], 2, SHARDS) is Arrival.REPEATED
    assert {arrival([JOINED], shard, SHARDS) for shard in range(SHARDS)} == {Arrival.REPEATED}


class Bag(list[Any]):
    """State of one key."""

    asked = 0
    add = list.append

    def read(self) -> list[Any]:
        self.asked += 1
        return self.copy()


class Timer:
    """A timer of one key."""

    at: float | None = None

    def set(self, at: float) -> None:
        self.at = at

    def clear(self) -> None:
        self.at = None


class Key:
    """What is kept of one block, and a clock."""

    def __init__(self) -> None:
        self.parts, self.late, self.end, self.now = Bag(), Timer(), Timer(), 100.0
        self._dofn = MeetParts(JOIN, "1B", PATIENCE, lambda: self.now)._dofn

    def comes(self, *shards: int) -> list[int]:
        """Shards of the parts that are handed on together."""
        state = GlobalWindow(), self.parts, self.late, self.end
        together = [each for shard in shards for each in self._dofn.process(part(shard), *state)]
        assert all(block == part(0)[0] for block, _ in together)
        return [each[0] for _, parts in together for each in parts]

    def when_late(self, now: float) -> None:
        due, self.now, self.late.at = self.late.at, now, None
        self._dofn.when_late(due, GlobalWindow(), self.parts, self.late, self.end)

    def when_over(self) -> None:
        self.end.at = None
        self._dofn.when_over(self.parts, self.late)

    @property
    def is_empty(self) -> bool:
        return not (self.parts or self.late.at or self.end.at)


def test_a_block_that_was_joined_leaves_a_mark_and_then_nothing():
    key = Key()
    assert key.comes(2, 0, 0, 2, 1) == [2, 0, 1]
    assert key.parts == [(JOINED,)]
    due = key.late.at
    key.now += 1
    assert key.comes(0, 1, 2, 1) == [], "repeated after the join"
    assert (key.parts, key.late.at) == ([(JOINED,)], due)
    key.when_late(due)
    assert key.is_empty


def test_state_is_asked_for_once_a_part():
    """Each time is a turn to the runner and back, for which the worker waits."""
    key = Key()
    assert key.comes(2, 0, 1, 1) == [2, 0, 1]
    assert key.parts.asked == 4


def test_the_end_of_the_input_leaves_nothing_either():
    key = Key()
    key.comes(0, 1, 2)
    key.when_over()
    assert key.is_empty


@pytest.mark.parametrize("come", [[0], [1, 2, 2]])
def test_a_part_that_does_not_come_is_an_error(come: list[int]):
    key = Key()
    assert key.comes(*come) == []
    lost = ", ".join(str(shard) for shard in range(SHARDS) if shard not in come)
    told = f"step 1: of a block's 3 partial results, that of shard {lost} is lost: "
    with pytest.raises(LostPartError, match=f"{told}the last to come did so 10 s ago"):
        key.when_late(key.late.at)
    with pytest.raises(LostPartError, match=f"{told}the input is over"):
        key.when_over()


def test_each_part_that_comes_is_waited_for_anew_but_no_repetition():
    key = Key()
    key.comes(0)
    key.now += 8
    key.comes(0)
    assert key.late.at == 110
    key.comes(1)
    assert key.late.at == 118


def test_a_job_that_was_down_waits_anew():
    key = Key()
    key.comes(0)
    key.when_late(100 + 2.5 * PATIENCE)
    assert key.parts == [part(0)[1]] and key.late.at == 100 + 3.5 * PATIENCE
    assert key.comes(2, 1) == [0, 2, 1]


def test_what_waits_holds_back_no_watermark():
    """As Beam writes the timer down for the runner: due by the clock, held at the end of the window."""
    coder = _TimerCoder(BytesCoder(), GlobalWindowCoder()).get_impl()
    due, noon = Timestamp(1_000), Timestamp(500)

    def written(prepare: Callable[[OutputTimer], OutputTimer]) -> Any:
        stream = ClosableOutputStream()
        timer = OutputTimer(
            b"block", GlobalWindow(), noon, PANE_INFO_UNKNOWN, TimeDomain.REAL_TIME, "late", coder, stream
        )
        prepare(timer).set(due)
        return coder.decode(stream.get())

    assert written(lambda timer: timer).hold_timestamp == noon
    made = written(lambda timer: without_hold(timer, GlobalWindow()))
    assert made.fire_timestamp == due
    # Milliseconds travel.
    assert made.hold_timestamp.micros // 1000 == GlobalWindow().max_timestamp().micros // 1000


class Keep(beam.DoFn):
    """Writes down which blocks come out, with the shards of their parts."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, met: tuple[bytes, Sequence[Part]]) -> None:
        block, parts = met
        assert all(one == part(one[0])[1] for one in parts)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{block.decode()}: {sorted(one[0] for one in parts)}\n")


def through(events: test_stream.TestStream, out: Path, patience: float = 1e6) -> list[str]:
    options = PipelineOptions(["--streaming"])
    with beam.Pipeline("BundleBasedDirectRunner", options) as pipeline:
        parts = pipeline | events
        assert not parts.is_bounded
        parts | MeetParts(JOIN, "1B", patience, no_time) | beam.ParDo(Keep(str(out)))
    return sorted(out.read_text().splitlines()) if out.exists() else []


def no_time() -> float:
    """The clock of a TestStream begins at 0."""
    return 0.0


def stream() -> test_stream.TestStream:
    return test_stream.TestStream(coder=beam.coders.FastPrimitivesCoder()).with_output_types(tuple[bytes, Any])


def test_each_block_of_a_stream_comes_out_once(tmp_path: Path):
    parts = [part(shard, block) for block in range(20) for shard in range(SHARDS)] * 2
    random.Random(3).shuffle(parts)
    events = stream()
    for at in range(0, len(parts), 7):
        events.add_elements(parts[at : at + 7])
    again = [part(shard, block) for block in (3, 4) for shard in (2, 1, 0)]
    made = through(events.add_elements(again).advance_watermark_to_infinity(), tmp_path / "out")
    assert made == sorted(f"block {block}: [0, 1, 2]" for block in range(20))


def test_a_block_of_a_stream_goes_on_when_it_is_complete(tmp_path: Path):
    """Not at the end of the input: what comes after it fails the job, and it was through by then."""
    events = stream().add_elements([part(0), part(1, 1)]).add_elements([part(2), part(1)])
    with pytest.raises(LostPartError, match="that of shard 0, 2 is lost: the input is over"):
        through(events.advance_watermark_to(MAX_TIMESTAMP), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "block 0: [0, 1, 2]\n"


def test_a_lost_part_of_a_stream_fails_the_job_when_it_is_due(tmp_path: Path):
    events = stream().add_elements([part(0), part(1)]).advance_processing_time(PATIENCE + 1)
    with pytest.raises(LostPartError, match="that of shard 2 is lost: the last to come did so 10 s ago"):
        through(events.add_elements([part(2)]).advance_watermark_to_infinity(), tmp_path / "out", PATIENCE)


def test_a_block_is_forgotten_when_it_is_due(tmp_path: Path):
    """Seen by what comes much later: it is a new block."""
    whole = [part(shard) for shard in range(SHARDS)]
    events = stream().add_elements(whole).add_elements(whole).advance_processing_time(PATIENCE + 1).add_elements(whole)
    made = through(events.advance_watermark_to_infinity(), tmp_path / "out", PATIENCE)
    assert made == ["block 0: [0, 1, 2]"] * 2
