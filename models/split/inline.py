"""All stages in one process: micro-batches flow from stage to stage through bounded queues, so that stages overlap.

Time runs to the right; a digit is the micro-batch that a stage runs, a dot is a bubble:

    stage 0   0 1 2 3 . .
    stage 1   . 0 1 2 3 .        bubbles: (K - 1) / (M + K - 1) of the time, for K equal stages and M micro-batches
    stage 2   . . 0 1 2 3

Every stage has worker threads of its own, which are there only while somebody waits for results:

    caller A --+                                                      +--> A's results, in A's order
               +--> [queue]->(stage 0)->[queue]->(stage 1)->[queue]->...
    caller B --+                                                      +--> B's results, in B's order

A full queue holds back the stage before it, and the first one its callers, so memory is bounded: see
`InlinePipeline.most_in_flight`. With several workers a stage, micro-batches may overtake one another; each caller
still gets its results in the order it gave them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from beamsplit.models.running.run_limit import context
from beamsplit.models.split.worker import (
    Array,
    InlineStage,
    MicroBatch,
    PipelineStats,
    StageError,
    Station,
    share_workers,
)

QUEUE_ROOM = 2
"""Micro-batches that may wait before a stage: they even out runs of unlike length, and cost memory."""

DIFFERS = 0.15
"""Share by which a stage's part of all time may differ from the plan before workers are moved."""

ENOUGH_RUNS = 8
"""Micro-batches that every stage must have run before its time is believed."""


@dataclass(frozen=True)
class Outcome:
    """What became of one micro-batch."""

    outputs: list[Array]
    """In the order of the pipeline's outputs; empty where it failed."""

    error: StageError | None
    """The stage that failed and why."""

    seconds: float
    """From entering the first queue to leaving the last stage."""


class InlinePipeline:
    """Stages that run in this process, shared by any number of calling threads.

    Worker threads start with the first caller and are joined when the last one leaves, also where a caller stops
    before its end; between two callers there are none. Workers move between stages when measured times differ from
    the plan (`moves` tells): where every stage has one worker, the busiest may get one more.
    """

    def __init__(
        self,
        stages: Sequence[InlineStage],
        outputs: Sequence[str],
        *,
        room: int = QUEUE_ROOM,
        moving: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is started yet.

        Args:
            stages: in order; at least one.
            outputs: tensors that come out, made by stages or given as feeds.
            room: micro-batches that may wait before each stage.
            moving: whether workers may move between stages.
            clock: gives seconds.
        """
        self._clock = clock
        self._outputs = list(outputs)
        self._stations = [Station(stage, room, stage.workers) for stage in stages]
        self._needed = [
            {name for later in stages[at + 1 :] for name in later.inputs} | {*outputs} for at in range(len(stages))
        ]
        self._lock = threading.Lock()
        self._changed = [threading.Condition(self._lock) for _ in stages]
        """Told when a station's queue gained or lost one, or when its workers shall end."""
        self._finished = threading.Condition(self._lock)
        self._gate = threading.Lock()
        """Held while threads are started or joined."""
        self._callers = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._in_flight = 0
        self._last_tick = clock()
        self._active_seconds = 0.0
        self._since_move = [station.stats() for station in self._stations]
        self._moving = moving
        self._most_workers = sum(stage.workers for stage in stages)
        if all(stage.workers == 1 for stage in stages):
            # There is none to spare: one more lets the machine share a core between two stages.
            self._most_workers += 1
        self.moves: list[tuple[int, ...]] = []
        """Workers of each stage after each move."""

    @property
    def most_in_flight(self) -> int:
        """Micro-batches of one caller that exist at once, at most: in queues, in stages, or waiting to be taken."""
        return sum(station.room + station.wanted for station in self._stations)

    @property
    def workers(self) -> tuple[int, ...]:
        """Worker threads that each stage has while it runs."""
        return tuple(station.wanted for station in self._stations)

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[list[Array], None, None]:
        """Outputs of each micro-batch, in order.

        Raises:
            StageError: of the first micro-batch, in order, that failed.
        """
        for outcome in self.outcomes(feeds):
            if outcome.error is not None:
                raise outcome.error from outcome.error.error
            yield outcome.outputs

    def outcomes(self, feeds: Iterable[dict[str, Array]]) -> Generator[Outcome, None, None]:
        """What became of each micro-batch, in order; a failed one does not stop those behind it.

        `feeds` is taken from as room comes free, in the calling thread; its arrays must stay as they are until the
        outcome is there. Close the iterator to stop early.
        """
        waiting: deque[MicroBatch] = deque()
        left = threading.Event()
        with self._running():
            try:
                for one in feeds:
                    if len(waiting) >= self.most_in_flight:
                        yield self._wait(waiting.popleft())
                    micro_batch = MicroBatch(dict(one), left.is_set, self._clock(), (context.block, context.run))
                    waiting.append(micro_batch)
                    self._enter(micro_batch)
                    while waiting and waiting[0].done:
                        yield self._wait(waiting.popleft())
                while waiting:
                    yield self._wait(waiting.popleft())
            finally:
                left.set()

    def stats(self) -> PipelineStats:
        """Counts since the pipeline was made: take the difference of two for a span of time."""
        with self._lock:
            self._tick()
            return PipelineStats(tuple(station.stats() for station in self._stations), self._active_seconds)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Worker threads are there inside; they are joined when the last caller leaves."""
        with self._gate:
            self._callers += 1
        try:
            with self._gate:
                self._move()
                self._start_missing()
            yield
        finally:
            with self._gate:
                self._callers -= 1
                if not self._callers:
                    self._stop()

    def _start_missing(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for at, station in enumerate(self._stations):
            while station.running < station.wanted:
                thread = threading.Thread(target=self._work, args=(at,), name=f"stage-{at}", daemon=True)
                with self._lock:
                    self._tick()
                    station.running += 1
                try:
                    thread.start()
                except RuntimeError:
                    with self._lock:
                        station.running -= 1
                    raise
                self._threads.append(thread)

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            for changed in self._changed:
                changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._lock:
            self._tick()
            self._stopping = False
            self._in_flight = 0
            for station in self._stations:
                station.queue.clear()
        self._threads = []

    def _work(self, at: int) -> None:
        station = self._stations[at]
        while (micro_batch := self._take(at)) is not None:
            if micro_batch.error is None and not micro_batch.cancelled():
                started = self._clock()
                try:
                    context.block, context.run = micro_batch.of
                    feeds = {name: micro_batch.values[name] for name in station.stage.inputs}
                    made = station.stage.run(feeds)
                    values = {**micro_batch.values, **dict(zip(station.stage.outputs, made, strict=True))}
                    micro_batch.values = {name: values[name] for name in self._needed[at] if name in values}
                    del feeds, made, values
                except BaseException as error:
                    micro_batch.values = {}
                    micro_batch.error = StageError(at, error)
                seconds = self._clock() - started
                with self._lock:
                    station.busy_seconds += seconds
                    station.runs += 1
            self._pass_on(at, micro_batch)

    def _take(self, at: int) -> MicroBatch | None:
        """The next micro-batch for a worker; None tells it to end."""
        station = self._stations[at]
        with self._lock:
            while not self._stopping and station.running <= station.wanted:
                if station.queue:
                    self._tick()
                    micro_batch = station.queue.popleft()
                    self._changed[at].notify_all()
                    return micro_batch
                self._changed[at].wait()
            self._tick()
            station.running -= 1
            # What woke this worker up may have been meant for another.
            self._changed[at].notify_all()
            return None

    def _pass_on(self, at: int, micro_batch: MicroBatch) -> None:
        last = at + 1 == len(self._stations)
        with self._lock:
            if not (last or micro_batch.error is not None or micro_batch.cancelled()):
                self._put(at + 1, micro_batch)
                return
            self._tick()
            micro_batch.left, micro_batch.done = self._clock(), True
            self._in_flight -= 1
            self._finished.notify_all()

    def _enter(self, micro_batch: MicroBatch) -> None:
        with self._lock:
            self._tick()
            self._in_flight += 1
            self._put(0, micro_batch)

    def _put(self, at: int, micro_batch: MicroBatch) -> None:
        station = self._stations[at]
        while len(station.queue) >= station.room and not self._stopping:
            self._changed[at].wait()
        self._tick()
        station.queue.append(micro_batch)
        self._changed[at].notify_all()

    def _wait(self, micro_batch: MicroBatch) -> Outcome:
        with self._lock:
            while not micro_batch.done:
                self._finished.wait()
        seconds = micro_batch.left - micro_batch.entered
        if micro_batch.error is None:
            return Outcome([micro_batch.values[name] for name in self._outputs], None, seconds)
        if not isinstance(micro_batch.error.error, Exception):
            raise micro_batch.error.error
        return Outcome([], micro_batch.error, seconds)

    def _tick(self) -> None:
        """Add the time since the last change to what is counted over time."""
        now = self._clock()
        passed, self._last_tick = now - self._last_tick, now
        if not self._in_flight:
            return
        self._active_seconds += passed
        for station in self._stations:
            station.offered_seconds += passed * station.running
            station.queue_seconds += passed * len(station.queue)

    def _move(self) -> None:
        """Give workers to the stages that turned out to be busy; those too many end before their next micro-batch."""
        if not self._moving:
            return
        with self._lock:
            now = [station.stats() for station in self._stations]
            spent = [new - old for new, old in zip(now, self._since_move, strict=True)]
            if min(one.runs for one in spent) < ENOUGH_RUNS:
                return
            self._since_move = now
            measured = [one.busy_seconds / one.runs for one in spent]
            if not differs([station.stage.seconds for station in self._stations], measured):
                return
            workers = share_workers(measured, self._most_workers)
            if workers == [station.wanted for station in self._stations]:
                return
            for station, wanted, changed in zip(self._stations, workers, self._changed, strict=True):
                station.wanted = wanted
                changed.notify_all()
            self.moves.append(tuple(workers))


def differs(predicted: Sequence[float], measured: Sequence[float], share: float = DIFFERS) -> bool:
    """Whether a stage's part of all seconds is off by more than `share`; always where nothing was predicted.

    >>> differs([1.0, 1.0], [2.0, 2.2]), differs([1.0, 1.0], [1.0, 1.4])
    (False, True)
    """
    whole, real = sum(predicted), sum(measured)
    if not whole or not real:
        return bool(real)
    return any(
        abs((m / real) - (p / whole)) > share * max(p / whole, 1e-9) for p, m in zip(predicted, measured, strict=True)
    )
