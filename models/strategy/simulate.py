"""Discrete events: micro-batches through stages, teams of shards, links and bounded queues, as on a cluster at hand.

    source -> [queue] -> team 0: leader | shard 1 | shard 2 -+-> [queue] -> team 0 ...
                      -> team 1: leader | shard 1 | shard 2 -+

A worker does one thing at a time, the oldest micro-batch first; what takes how long is told by `cost.py`. A team hands
on what it made once there is room in the queue before the next stage, and takes its next micro-batch only then. The
source is never empty. Pods have nothing in common, so that each kind of pod is simulated once. But where there are more
workers than cores for them, those of all pods take turns, a task each.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from beamsplit.models.strategy.candidate import Candidate, Pod
from beamsplit.models.strategy.cost import Busy, Stage, busy

ROOM = 2
"""Micro-batches that may wait before a stage."""

ROUNDS = 64
"""Micro-batches for each team of the stage with the most."""


@dataclass(frozen=True)
class PodRun:
    """One chain, run from empty until its last micro-batch has left."""

    micro_batches: int

    seconds: float
    """From the first entering to the last leaving."""

    period: float
    """Seconds a micro-batch over the second half, when the chain is full."""

    latency: float
    """Seconds that a micro-batch of the second half takes from its first stage's start, on average."""

    stage_busy: tuple[float, ...]
    """Of each stage, the share of `seconds` in which its leaders, or its busiest shards, do something."""


@dataclass(frozen=True)
class Simulated:
    """What a candidate does."""

    rows_per_second: float
    """When full."""

    latency: float
    """Seconds of a micro-batch in a full chain, waiting between stages included; of the slowest pod."""

    fill_seconds: float
    """Longer that the slowest pod took for its micro-batches than if it had been full from the start."""

    stage_busy: tuple[float, ...]
    """Of the first pod."""

    micro_batches: int
    """Simulated, all pods together."""


def simulate(
    candidate: Candidate, rows: int, *, room: int = ROOM, rounds: int = ROUNDS, cores: int | None = None
) -> Simulated:
    """Run a candidate's pods; a thousand workers take seconds.

    Args:
        candidate: the way to use the workers; it fits them.
        rows: in a micro-batch.
        room: micro-batches that may wait before a stage; at least 1.
        rounds: micro-batches for each team of the widest stage.
        cores: that all workers share; None where each has its own.

    Raises:
        ValueError: the candidate does not fit its workers, or room or rounds are below 1.
    """
    if not candidate.pods:
        raise ValueError(f"{candidate.name} does not fit its workers: there is nothing to run")
    if cores is None or candidate.workers <= cores:
        runs = [(pod, run_pod(pod.stages, room=room, rounds=rounds)) for pod in candidate.pods]
    else:
        runs = _sharing(candidate, cores, room, rounds)
    return Simulated(
        rows_per_second=sum(pod.count * rows / max(run.period, 1e-12) for pod, run in runs),
        latency=max(run.latency for _, run in runs),
        fill_seconds=max(run.seconds - run.micro_batches * run.period for _, run in runs),
        stage_busy=runs[0][1].stage_busy,
        micro_batches=sum(pod.count * run.micro_batches for pod, run in runs),
    )


def _sharing(candidate: Candidate, cores: int, room: int, rounds: int) -> list[tuple[Pod, PodRun]]:
    """Of each kind of pod one, while all of them are at work on so many cores."""
    machine = _Machine(cores)
    chains = []
    for pod in candidate.pods:
        number = rounds * max(len(stage.teams) for stage in pod.stages)
        chains.append([_Chain(pod.stages, room, number, machine) for _ in range(pod.count)])
    machine.run([chain for kind in chains for chain in kind])
    return [(pod, kind[0].result()) for pod, kind in zip(candidate.pods, chains, strict=True)]


def run_pod(
    stages: Sequence[Stage], *, room: int = ROOM, rounds: int = ROUNDS, micro_batches: int | None = None
) -> PodRun:
    """Run one chain.

    Args:
        stages: at least one.
        room: micro-batches that may wait before a stage.
        rounds: micro-batches for each team of the widest stage, where `micro_batches` does not say how many.
        micro_batches: that enter; at least 1.

    Raises:
        ValueError: a number below 1.
    """
    widest = max(len(stage.teams) for stage in stages)
    number = rounds * widest if micro_batches is None else micro_batches
    if number < 1 or room < 1:
        raise ValueError(f"rounds, room and micro_batches must be at least 1: {rounds}, {room}, {micro_batches}")
    machine = _Machine(None)
    chain = _Chain(stages, room, number, machine)
    machine.run([chain])
    return chain.result()


@dataclass
class _Worker:
    """Does one task at a time, the oldest micro-batch's first."""

    at_work: bool = False
    queued: bool = False
    """Whether it has something to do and no core for it."""

    waiting: list[tuple[int, int, float, Callable[[], None]]] = field(default_factory=list)


@dataclass
class _Team:
    """One replica of a stage."""

    times: Busy
    workers: list[_Worker]
    """The leader first; shard 0 is the leader's unless it is apart."""

    spent: list[float]
    """Seconds that each worker worked."""


@dataclass
class _Line:
    """A stage: its queue, its teams, and what is done but has no room behind."""

    stage: Stage
    teams: list[_Team]
    idle: list[int]
    """Teams that could take a micro-batch, as often as they could, by number: a heap."""

    queue: deque[int] = field(default_factory=deque)
    blocked: deque[tuple[int, int]] = field(default_factory=deque)


class _Machine:
    """The clock of all chains, and the cores that their workers share."""

    def __init__(self, cores: int | None):
        self.free = cores
        self.now = 0.0
        self.number = 0
        self.stirred: list[_Worker] = []
        self.waiting: deque[_Worker] = deque()
        self.events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, chains: Sequence[_Chain]) -> None:
        """Until nothing happens any more."""
        for chain in chains:
            chain.begin()
        self._begin()
        while self.events:
            self.now = self.events[0][0]
            # What ends at one moment is all known before anyone takes up the next task.
            while self.events and self.events[0][0] <= self.now * (1 + 1e-12):
                _, _, end = heapq.heappop(self.events)
                end()
            self._begin()

    def give(self, worker: _Worker, micro_batch: int, seconds: float, then: Callable[[], None]) -> None:
        """Something to do."""
        self.number += 1
        heapq.heappush(worker.waiting, (micro_batch, self.number, seconds, then))
        self.stirred.append(worker)

    def _begin(self) -> None:
        """Workers that are free, have something to do and a core for it begin."""
        stirred, self.stirred = self.stirred, []
        for worker in stirred:
            if worker.waiting and not worker.at_work and not worker.queued:
                worker.queued = True
                self.waiting.append(worker)
        while self.waiting and self.free != 0:
            worker = self.waiting.popleft()
            worker.queued, worker.at_work = False, True
            if self.free is not None:
                self.free -= 1
            _, _, seconds, then = heapq.heappop(worker.waiting)
            self.number += 1
            end: Callable[[], None] = partial(self._end, worker, then)
            heapq.heappush(self.events, (self.now + seconds, self.number, end))

    def _end(self, worker: _Worker, then: Callable[[], None]) -> None:
        worker.at_work = False
        if self.free is not None:
            self.free += 1
        self.stirred.append(worker)
        then()


class _Chain:
    def __init__(self, stages: Sequence[Stage], room: int, micro_batches: int, machine: _Machine):
        self.room, self.machine = room, machine
        self.lines = [
            _Line(
                stage,
                [_team(busy(stages, at, team), stage) for team in stage.teams],
                sorted(list(range(len(stage.teams))) * (stage.in_flight if stage.shards > 1 else 1)),
            )
            for at, stage in enumerate(stages)
        ]
        self.lines[0].queue.extend(range(micro_batches))
        self.left: list[float] = []
        self.taken: list[float] = []
        self.entered: dict[int, float] = {}

    def begin(self) -> None:
        """Let the first micro-batches in."""
        self._take(0)

    def result(self) -> PodRun:
        """What was seen, when all has left."""
        left, number = self.left, len(self.left)
        widest = max(len(line.teams) for line in self.lines)
        # The last to leave find the stages before them empty: they are not of a full chain.
        until = max(number - min(widest, number // 4), 1)
        # Whole waves: equal teams hand on side by side.
        half = until // 2 // widest * widest if until >= 2 * widest else until // 2
        period = (left[until - 1] - left[half - 1]) / (until - half) if half else left[-1] / number
        work = [max(max(team.spent) for team in line.teams) for line in self.lines]
        taken = self.taken[half:]
        return PodRun(
            number,
            left[-1],
            period,
            sum(taken) / len(taken),
            tuple(one / left[-1] if left[-1] else 0.0 for one in work),
        )

    def _take(self, at: int) -> None:
        """Give what waits before a stage to teams that are free, and let in what was blocked."""
        line = self.lines[at]
        while line.queue and line.idle:
            team = heapq.heappop(line.idle)
            micro_batch = line.queue.popleft()
            if not at:
                self.entered[micro_batch] = self.machine.now
            self._start(at, team, micro_batch)
            if at:
                self._let_in(at)

    def _let_in(self, at: int) -> None:
        """What is done before stage `at` and waits for room goes into its queue."""
        before, line = self.lines[at - 1], self.lines[at]
        freed = False
        while before.blocked and len(line.queue) < self.room:
            micro_batch, team = before.blocked.popleft()
            line.queue.append(micro_batch)
            heapq.heappush(before.idle, team)
            freed = True
        if freed:
            self._take(at - 1)

    def _start(self, at: int, number: int, micro_batch: int) -> None:
        stage, team = self.lines[at].stage, self.lines[at].teams[number]
        times = team.times
        rounds = max(stage.exchanges, 1) if stage.shards > 1 else 0
        done = lambda: self._done(at, number, micro_batch)  # noqa: E731
        if not rounds:
            self._work(team, 0, micro_batch, times.latency, done)
            return
        whole, exchange = times.whole / (rounds + 1), times.exchange / rounds
        shards = team.workers[1:] if stage.apart else team.workers

        def scatter(left: int) -> None:
            meeting = [len(shards)]

            def met() -> None:
                meeting[0] -= 1
                if meeting[0]:
                    return
                if left > 1:
                    self._work(team, 0, micro_batch, whole + exchange, lambda: scatter(left - 1))
                else:
                    self._work(team, 0, micro_batch, whole + times.leave, done)

            for worker in range(len(team.workers) - len(shards), len(team.workers)):
                share = times.own if worker == 0 else times.share
                self._work(team, worker, micro_batch, share / rounds, met)

        self._work(team, 0, micro_batch, times.enter + whole + exchange, lambda: scatter(rounds))

    def _work(self, team: _Team, at: int, micro_batch: int, seconds: float, then: Callable[[], None]) -> None:
        team.spent[at] += seconds
        self.machine.give(team.workers[at], micro_batch, seconds, then)

    def _done(self, at: int, team: int, micro_batch: int) -> None:
        if at + 1 == len(self.lines):
            self.left.append(self.machine.now)
            self.taken.append(self.machine.now - self.entered.pop(micro_batch))
            heapq.heappush(self.lines[at].idle, team)
            self._take(at)
            return
        self.lines[at].blocked.append((micro_batch, team))
        self._let_in(at + 1)
        self._take(at + 1)


def _team(times: Busy, stage: Stage) -> _Team:
    return _Team(times, [_Worker() for _ in range(stage.team_size)], [0.0] * stage.team_size)
