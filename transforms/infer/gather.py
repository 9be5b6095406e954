"""Where the parts of a block meet, by the id of the block: a GroupByKey where the input ends, state where it does not.

    id of the block:   part of shard 1 --> [part 1]   kept, waits
                       part of shard 1 --> [part 1]   repeated: dropped
                       part of shard 0 --> [JOINED]   all are here: handed on, and only the mark is kept
                       part of shard 0 --> [JOINED]   repeated after the join: dropped

State is in the runner's checkpoints, so what waits survives a crash. Asking for it is a turn to the runner and back,
for which the worker waits: so there is one state, asked once a part, and a worker on Flink remembers what it was told
(`STATE_CACHE_MB` in `runners/flink.py`), so that only the first part of a block asks. Two timers see to it that none
of it stays:

    PATIENCE_SECONDS after the last part   JOINED: forgotten      else: a part is lost, the bundle fails
    the end of the input                   JOINED: forgotten      else: a part is lost, the bundle fails
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer

import beamsplit.runners.beam_patches.state_commits  # noqa: F401 before state is written
from beamsplit.runners.beam_patches.timer_hold import without_hold
from beamsplit.transforms.infer.join import ShardJoin, lost_parts

PATIENCE_SECONDS = 600.0
"""How long a block waits for its next part before that counts as lost, and how long a block that was joined is
remembered. Shards of one block are apart by a bundle or two; a worker that is killed takes the waiting back with it."""

JOINED = -1
"""Stands in place of the shards whose parts have come."""

_MARK = (JOINED,)
"""Stands in place of the parts."""


class Arrival(Enum):
    """What a part is to its block."""

    WAITS = "waits"
    """Others are missing."""

    LAST = "last"
    """All have come."""

    REPEATED = "repeated"
    """It has come before."""


def arrival(seen: Collection[int], shard: int, shards: int) -> Arrival:
    """What the part of a shard is to its block.

    Args:
        seen: shards whose parts have come, in any order, or `JOINED`.
        shard: whose part comes.
        shards: how many there are.

    >>> arrival([], 1, 2), arrival([1], 1, 2), arrival([1], 0, 2), arrival([JOINED], 0, 2)
    (<Arrival.WAITS: 'waits'>, <Arrival.REPEATED: 'repeated'>, <Arrival.LAST: 'last'>, <Arrival.REPEATED: 'repeated'>)
    """
    if JOINED in seen or shard in seen:
        return Arrival.REPEATED
    return Arrival.LAST if len(seen) + 1 == shards else Arrival.WAITS


class _MeetInState(beam.DoFn):
    PARTS = BagStateSpec("parts", FastPrimitivesCoder())
    LATE = TimerSpec("late", TimeDomain.REAL_TIME)
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, join: ShardJoin, patience: float, clock: Callable[[], float]) -> None:
        self._join, self._patience, self._clock = join, patience, clock
        self._repeated = Metrics.counter("beamsplit", "shard_parts_repeated")

    def process(
        self,
        part: tuple[bytes, tuple[Any, ...]],
        window: Any = beam.DoFn.WindowParam,
        parts: Any = beam.DoFn.StateParam(PARTS),
        late: Any = beam.DoFn.TimerParam(LATE),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[tuple[bytes, list[tuple[Any, ...]]]]:
        block, one = part
        before = list(parts.read())
        comes = arrival(_shards(before), one[0], self._join.shards)
        if comes is Arrival.REPEATED:
            self._repeated.inc()
            return
        without_hold(late, window).set(self._clock() + self._patience)
        if not before:
            end.set(window.max_timestamp())
        if comes is Arrival.WAITS:
            parts.add(one)
            return
        parts.clear()
        parts.add(_MARK)
        yield block, [*before, one]

    @on_timer(LATE)
    def when_late(
        self,
        due: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
        parts: Any = beam.DoFn.StateParam(PARTS),
        late: Any = beam.DoFn.TimerParam(LATE),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> None:
        """Forget a block that was joined; else a part of it is lost."""
        before, now = _shards(parts.read()), self._clock()
        if before and JOINED not in before:
            if now > due + self._patience:
                # Nobody was there when it was due: the job was down, and the part may be on its way again.
                without_hold(late, window).set(now + self._patience)
                return
            raise lost_parts(self._join, before, f"the last to come did so {self._patience:.0f} s ago")
        parts.clear()
        end.clear()

    @on_timer(END)
    def when_over(
        self,
        parts: Any = beam.DoFn.StateParam(PARTS),
        late: Any = beam.DoFn.TimerParam(LATE),
    ) -> None:
        """The same where nothing will come any more."""
        before = _shards(parts.read())
        if before and JOINED not in before:
            raise lost_parts(self._join, before, "the input is over")
        parts.clear()
        late.clear()


def _shards(parts: Iterable[tuple[Any, ...]]) -> list[int]:
    """Whose parts they are."""
    return [part[0] for part in parts]


class MeetParts(beam.PTransform):
    """PCollection of (id of a block, part) -> PCollection of (id, its parts), each id once.

    Args:
        join: what will bring the parts together.
        min_ram: resource hint of the worker that keeps the state.
        patience: seconds until a part counts as lost, and until a block is forgotten; for input that does not end.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        join: ShardJoin,
        min_ram: str,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._min_ram = min_ram
        self._dofn = _MeetInState(join, patience, clock)

    def expand(self, parts: PCollection) -> PCollection:
        """Wire: a GroupByKey, which waits for all blocks, or a ParDo with state, which hands each on at once."""
        if parts.is_bounded:
            return parts | beam.GroupByKey()
        in_state = beam.ParDo(self._dofn).with_resource_hints(min_ram=self._min_ram)
        return parts | in_state.with_output_types(tuple[bytes, list[Any]])
