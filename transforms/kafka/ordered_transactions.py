"""Exactly once where other workers score: a partition's outputs meet, in order again, before their transaction.

    [ read ] -+- what each range of offsets holds ---------------------+
              +-> [ stage 0 ] ~> [ stage 1 ] -- rows, in any order ----+-> by partition: in order -> transaction
                       +---------------+-- rows that failed -----------+

What waits for its turn is in the runner's state: a checkpoint holds it beside the source's offsets, or the group has it
done. How ranges become complete again is in `in_order.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer

import beamsplit.runners.beam_patches.state_commits  # noqa: F401 before state is written
from beamsplit.runners.beam_patches.timer_hold import without_hold
from beamsplit.transforms.apply import FAILED
from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import begins_of, parse_origin, ranges_of
from beamsplit.transforms.kafka.gaps import gaps_of
from beamsplit.transforms.kafka.in_order import (
    Arrivals,
    OffsetRange,
    Piece,
    error_piece,
    range_piece,
    rows_piece,
)
from beamsplit.transforms.kafka.transact import TransactDoFn, Transacted, by_partition

PATIENCE_SECONDS = 600.0
"""How long a partition stands still though outputs wait, until what lies before them counts as lost. A block is through
in the time of some bundles; a worker that is killed takes what waits back with it."""

RANGES = "ranges"
"""Tag of the output with what each block stands for."""

_KEYED = tuple[bytes, Any]


class OutputsLostError(RuntimeError):
    """Of messages that were read neither outputs nor errors came; the job must not go on without them."""


def _key(partition: int) -> bytes:
    return b"%d" % partition


class _TellRanges(beam.DoFn):
    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        begins, gaps = begins_of(block), gaps_of(block)
        offsets = {p: np.sort(rows.column(ORIGIN_ROW).to_numpy()) for p, rows in by_partition(block).items()}
        none = np.zeros(0, np.int64)
        for partition, (begin, end) in ranges_of(block).items():
            gone = tuple(gap for gap in gaps if gap.partition == partition)
            told = OffsetRange(begin, end, offsets.get(partition, none).tobytes(), partition in begins, gone)
            yield beam.pvalue.TaggedOutput(RANGES, (_key(partition), range_piece(told)))
        if block.num_rows:
            yield block.replace_schema_metadata(None)


class TellRanges(beam.PTransform):
    """PCollection of blocks with ranges -> outputs `blocks` (main) and `RANGES`, for `TransactInOrder`."""

    dofn = _TellRanges()

    def expand(self, blocks: PCollection) -> beam.pvalue.DoOutputsTuple:
        """Wire: one ParDo with two outputs."""
        made = blocks | beam.ParDo(self.dofn).with_output_types(pa.RecordBatch).with_outputs(RANGES, main="blocks")
        made[RANGES].element_type = _KEYED
        return made


class RowsByPartition(beam.PTransform):
    """PCollection of blocks with predictions -> pieces by partition."""

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return blocks | beam.FlatMap(_rows_by_partition).with_output_types(_KEYED)


def _rows_by_partition(block: pa.RecordBatch) -> list[tuple[bytes, Piece]]:
    return [(_key(partition), rows_piece(rows)) for partition, rows in by_partition(block).items()]


class ErrorsByPartition(beam.PTransform):
    """PCollection of RowError -> pieces by partition."""

    def expand(self, errors: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return errors | beam.Map(_error_by_partition).with_output_types(_KEYED)


def _error_by_partition(error: RowError) -> tuple[bytes, Piece]:
    return _key(parse_origin(error.file)[1]), error_piece(error)


class _TransactInOrder(TransactDoFn):
    PIECES = BagStateSpec("pieces", FastPrimitivesCoder())
    LATE = TimerSpec("late", TimeDomain.REAL_TIME)
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, transacted: Transacted, job_dir: str | None, patience: float, clock: Callable[[], float]):
        super().__init__(transacted, job_dir)
        self._patience, self._clock = patience, clock

    def start_bundle(self) -> None:
        super().start_bundle()
        self._arrivals: dict[int, Arrivals] = {}
        # Partition -> when the last range went on, or what waits began to; and of which moment its timer is.
        self._stands_since: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._admitted: set[int] = set()

    def process(
        self,
        keyed: tuple[bytes, Piece],
        window: Any = beam.DoFn.WindowParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        late: Any = beam.DoFn.TimerParam(LATE),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[Any]:
        partition, piece, now = int(keyed[0]), keyed[1], self._clock()
        if partition not in self._arrivals:
            kept = list(pieces.read())
            self._arrivals[partition] = Arrivals(piece for _, piece in kept)
            self._stands_since[partition] = min((since for since, _ in kept), default=now)
        arrivals = self._arrivals[partition]
        waited = len(arrivals)
        arrivals.add(piece)
        yield from self.work(lambda: self._take(partition, arrivals))
        if waited and len(arrivals) <= waited:
            # It went on: what is left begins to wait.
            pieces.clear()
        if waited == 0 or len(arrivals) <= waited:
            self._stands_since[partition] = now
        since = self._stands_since[partition]
        for one in [piece] if len(arrivals) > waited else arrivals.waiting():
            pieces.add((since, one))
        if not len(arrivals):
            if waited:
                late.clear()
            self._due.pop(partition, None)
        elif self._due.get(partition) != since:
            self._due[partition] = since
            without_hold(late, window).set(since + self._patience)
            end.set(window.max_timestamp())

    def _take(self, partition: int, arrivals: Arrivals) -> list[RowError]:
        """Let what is complete wait for its transaction."""
        above = None
        if partition in self._held and partition not in self._admitted:
            above = arrivals.begins_above(self._held[partition].end)
        if partition not in self._held or above is not None:
            # Another process may have been at work since: then those of this one know no longer what is done.
            self.hold({partition: above or 0})
            above = arrivals.begins_above(self._held[partition].end)
            if above is not None:
                self.hold({partition: above})
        failures: list[RowError] = []
        held = self._held[partition]
        for found in arrivals.take(held.end):
            one = found.range
            first = held.admit(one.begin, one.end)
            self._replayed.inc(int((np.frombuffer(one.offsets, np.int64) < first).sum()))
            if one.end <= first:
                continue
            self._admitted.add(partition)
            firsts = {partition: first}
            rows = [(partition, left) for block in found.blocks if (left := _from(block, first)).num_rows]
            told = self._tell_gaps([gap for gap in one.gaps if self.is_new(gap, firsts)])
            told += [error for error in found.errors if error.row >= first]
            failures += self.keep({partition: one.end}, rows, told)
        return failures

    @on_timer(LATE)
    def when_late(
        self,
        key: Any = beam.DoFn.KeyParam,
        window: Any = beam.DoFn.WindowParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        late: Any = beam.DoFn.TimerParam(LATE),
    ) -> None:
        """The partition has stood still for long: what the others wait for is lost."""
        kept = list(pieces.read())
        if not kept:
            return
        due = min(since for since, _ in kept) + self._patience
        if self._clock() < due:
            without_hold(late, window).set(due)
            return
        arrivals = Arrivals(piece for _, piece in kept)
        raise self._lost(key, arrivals, f"what came behind has waited for {self._patience:.0f} s")

    @on_timer(END)
    def when_over(
        self,
        key: Any = beam.DoFn.KeyParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        late: Any = beam.DoFn.TimerParam(LATE),
    ) -> None:
        """Nothing will come any more."""
        late.clear()
        arrivals = Arrivals(piece for _, piece in pieces.read())
        if len(arrivals):
            raise self._lost(key, arrivals, "the input is over")

    def _lost(self, key: bytes, arrivals: Arrivals, why: str) -> OutputsLostError:
        place = f"{self._group.topic}/{key.decode()}"
        return OutputsLostError(f"{place}: neither outputs nor errors came of {arrivals.missing()}: {why}")


def _from(block: pa.RecordBatch, first: int) -> pa.RecordBatch:
    """The rows at or above an offset, of a block of one partition."""
    fresh = block.column(ORIGIN_ROW).to_numpy() >= first
    return block if fresh.all() else block.filter(pa.array(fresh))


class TransactInOrder(beam.PTransform):
    """Pieces of `TellRanges`, `RowsByPartition` and `ErrorsByPartition` -> PCollection of RowError, those that have no
    topic to go to.

    Args:
        transacted: what is committed together.
        job_dir: folder that local workers share; None on a cluster.
        patience: seconds until what does not come counts as lost.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        transacted: Transacted,
        job_dir: str | None = None,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ):
        super().__init__()
        self._dofn = _TransactInOrder(transacted, job_dir, patience, clock)

    def expand(self, pieces: PCollection) -> PCollection:
        """Wire: one ParDo with state."""
        made = pieces | beam.ParDo(self._dofn).with_output_types(bytes).with_outputs(FAILED, main="none")
        made[FAILED].element_type = RowError
        return made[FAILED]
