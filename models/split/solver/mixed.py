"""A bound for graphs of too many down-sets: the whole problem as a mixed-integer program, solved as far as time goes.

    done[u, b]    is unit u in stage b or before?    0 or 1; none before what it reads, none undone by a later stage
    sent[v, b]    does value v cross boundary b?     >= done[producer, b] - done[consumer, b]         through a chain
    out, in       does v leave, or enter, stage s?   >= in[producer, s] - in[consumer, s], and back          directly

    least T with   work of s + bytes of s / bandwidth <= T   for each stage s

The program that stops early still proves a bound (as do those of Archer et al. 2023, arXiv 2311.03703, section 4), and
its best split is one to go on from. For workers that are alike, each with one stage. Solved by HiGHS (Huangfu and Hall
2018) where scipy is installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from beamsplit.models.split.solver.problem import CHAIN, Floats, Ints, Problem, Value, Worker
from beamsplit.models.split.solver.spine_bound import SpineBound

MARGIN = 1e-5
"""Share by which HiGHS's tolerances may have let a bound rise."""

MOST_NUMBERS = 3_000_000
"""Entries of the program's matrix beyond which it is not tried."""

CLOSE = 2e-4
"""Share of the bound at which a split is good enough to stop."""

Term = tuple[int, float]


@dataclass(frozen=True)
class Mixed:
    """What the program gave."""

    bound: float
    """Seconds; proven: no split has a shorter period."""

    stage_of: tuple[int, ...] | None
    """Its best split, if one was found; stages may be empty, and a value may be cut that may not cross."""


def available() -> bool:
    """Whether the solver is installed."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        return False
    return True


def mixed_integer(
    problem: Problem, worker: Worker, stages: int, told: SpineBound, seconds: float, *, exactly: bool = False
) -> Mixed | None:
    """Solve the program for workers that are alike; None where it is too large or gave nothing.

    Args:
        problem: the graph.
        worker: each of them.
        stages: that there are at most.
        told: what is known of every better split than one that is known.
        seconds: wall time that the solver may take, about.
        exactly: whether no stage may be empty.
    """
    program = _Program(problem, worker, stages, told, exactly)
    if program.numbers > MOST_NUMBERS:
        return None
    return program.solved(seconds)


@dataclass
class _Program:
    problem: Problem
    worker: Worker
    stages: int
    told: SpineBound
    exactly: bool
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    variables: int = 0

    def __post_init__(self) -> None:
        units = len(self.problem.seconds)
        self.known = self.told.known
        self.work = self.problem.work / self.worker.speed / self.known
        self.per_byte = 1 / self.worker.bandwidth / self.known
        self.done = self._new((self.stages - 1) * units).reshape(self.stages - 1, units)
        self.period = int(self._new(1)[0])
        self._order()
        for stage, terms in enumerate(self._moved()):
            self._at_least([(self.period, 1.0), *self._work_of(stage), *((at, -one) for at, one in terms)])
        if self.worker.memory_bytes < math.inf:
            self._limit_memory()
        if self.exactly:
            for stage in range(self.stages):
                self._at_least([term for unit in range(units) for term in self._in(unit, stage, 1.0)], 1.0)

    @property
    def numbers(self) -> int:
        return len(self.factors)

    def solved(self, seconds: float) -> Mixed | None:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        whole = np.zeros(self.variables)
        whole[self.done] = 1
        goal = np.zeros(self.variables)
        goal[self.period] = 1.0
        low, high = self._limits()
        if (low > high).any():
            # What is told of a better split contradicts itself.
            return Mixed(self.known * (1 - MARGIN), None)
        shape = (len(self.least), self.variables)
        found = milp(
            goal,
            integrality=whole,
            bounds=Bounds(low, high),
            constraints=LinearConstraint(
                coo_array((self.factors, (self.rows, self.columns)), shape=shape).tocsc(), np.array(self.least), np.inf
            ),
            options={"time_limit": seconds, "mip_rel_gap": CLOSE},
        )
        if found.status == 2:
            # Nothing is better than what is known.
            return Mixed(self.known * (1 - MARGIN), None)
        bound = found.mip_dual_bound
        if bound is None or not math.isfinite(bound):
            return None
        stage_of = None
        if found.x is not None:
            stage_of = tuple(int(stage) for stage in (found.x[self.done] < 0.5).sum(axis=0))
        return Mixed(float(bound) * self.known * (1 - MARGIN), stage_of)

    def _new(self, count: int) -> Ints:
        self.variables += count
        return np.arange(self.variables - count, self.variables)

    def _at_least(self, terms: Iterable[Term], least: float = 0.0) -> None:
        """The sum of the terms is at least this; variable -1 stands for 1."""
        for variable, factor in terms:
            if variable < 0:
                least -= factor
            else:
                self.rows.append(len(self.least))
                self.columns.append(variable)
                self.factors.append(factor)
        self.least.append(least)

    def _done(self, unit: int, boundary: int, factor: float) -> list[Term]:
        """Whether a unit is done before a boundary; the boundaries are 0 to `stages`."""
        if boundary == 0:
            return []
        return [(-1, factor) if boundary == self.stages else (int(self.done[boundary - 1, unit]), factor)]

    def _in(self, unit: int, stage: int, factor: float) -> list[Term]:
        return [*self._done(unit, stage + 1, factor), *self._done(unit, stage, -factor)]

    def _work_of(self, stage: int) -> list[Term]:
        """Less the work of a stage."""
        return [term for unit, work in enumerate(self.work) if work for term in self._in(unit, stage, -float(work))]

    def _order(self) -> None:
        for unit, units in enumerate(self.problem.before):
            for boundary in range(1, self.stages):
                for earlier in units:
                    self._at_least([*self._done(earlier, boundary, 1.0), *self._done(unit, boundary, -1.0)])
                self._at_least([*self._done(unit, boundary + 1, 1.0), *self._done(unit, boundary, -1.0)])
        for value in self.problem.values:
            if not value.may_cross and value.producer >= 0:
                for user in value.consumers:
                    for boundary in range(1, self.stages):
                        done = self._done(user, boundary, 1.0)
                        self._at_least([*done, *self._done(value.producer, boundary, -1.0)])

    def _moved(self) -> list[list[Term]]:
        """For each stage what it moves: variables and seconds, in shares of the period that is known."""
        terms: list[list[Term]] = [[] for _ in range(self.stages)]
        if not self.per_byte:
            return terms
        every = self._new(0)
        if self.problem.links == CHAIN and any(value.is_output for value in self.problem.values):
            # Whether all is done before a boundary: behind it no output has to go on.
            every = self._new(self.stages - 1)
            for boundary in range(1, self.stages):
                for unit in range(len(self.problem.seconds)):
                    self._at_least([*self._done(unit, boundary, 1.0), (int(every[boundary - 1]), -1.0)])
        for value in self.problem.values:
            if value.nbytes and (value.consumers or value.is_output):
                if self.problem.links == CHAIN:
                    self._through(value, every, terms)
                else:
                    self._straight(value, terms)
        return terms

    def _through(self, value: Value, every: Ints, terms: list[list[Term]]) -> None:
        cost = value.nbytes * self.per_byte
        last = self.stages - 1
        if value.producer < 0:
            terms[0].append((-1, cost))
        for boundary in range(1, self.stages):
            sent = int(self._new(1)[0])
            made = [(-1, -1.0)] if value.producer < 0 else self._done(value.producer, boundary, -1.0)
            for user in set(value.consumers):
                self._at_least([(sent, 1.0), *made, *self._done(user, boundary, 1.0)])
            if value.is_output:
                self._at_least([(sent, 1.0), *made, (int(every[boundary - 1]), 1.0)])
                # The stage with which all is done hands it out.
                before = [(int(every[boundary - 2]), -cost)] if boundary > 1 else []
                terms[boundary - 1] += [(int(every[boundary - 1]), cost), *before]
            terms[boundary - 1].append((sent, cost))
            terms[boundary].append((sent, cost))
        if value.is_output:
            terms[last] += [(-1, cost), *([(int(every[last - 1]), -cost)] if last else [])]

    def _straight(self, value: Value, terms: list[list[Term]]) -> None:
        cost = value.nbytes * self.per_byte
        for stage in range(self.stages):
            into, out = (int(one) for one in self._new(2))
            for user in set(value.consumers):
                read = self._in(user, stage, -1.0)
                made = [] if value.producer < 0 else self._in(value.producer, stage, 1.0)
                self._at_least([(into, 1.0), *read, *made])
                if value.producer >= 0:
                    self._at_least([(out, 1.0), *((at, -one) for at, one in (*read, *made))])
            if value.is_output and value.producer >= 0:
                self._at_least([(out, 1.0), *self._in(value.producer, stage, -1.0)])
            terms[stage] += [(into, cost), (out, cost)]

    def _limit_memory(self) -> None:
        most = self.worker.memory_bytes
        scale = 1 / max(most, 1.0)
        for stage in range(self.stages):
            held: list[Term] = []
            for weight in self.problem.weights:
                one = int(self._new(1)[0])
                for user in set(weight.users):
                    self._at_least([(one, 1.0), *self._in(user, stage, -1.0)])
                held.append((one, -weight.nbytes * scale))
            largest = int(self._new(1)[0])
            for unit, nbytes in enumerate(self.problem.activations):
                if nbytes:
                    self._at_least([(largest, 1.0), *self._in(unit, stage, -float(nbytes) * scale)])
            self._at_least([*held, (largest, -1.0)], -most * scale)

    def _limits(self) -> tuple[Floats, Floats]:
        """What no split as good as the one that is known can pass: work that lies before and behind each unit."""
        low, high = np.zeros(self.variables), np.ones(self.variables)
        low[self.period] = float(self.work.sum()) / self.stages * (1 - 1e-9)
        before, behind = _work_around(self.problem, self.work)
        for boundary in range(1, self.stages):
            high[self.done[boundary - 1, before > boundary * (1 + 1e-9)]] = 0.0
            low[self.done[boundary - 1, behind > (self.stages - boundary) * (1 + 1e-9)]] = 1.0
            high[self.done[boundary - 1, ~self.told.open[boundary - 1]]] = 0.0
            low[self.done[boundary - 1, self.told.done[boundary - 1]]] = 1.0
        low[self.period] = max(low[self.period], self.told.bound / self.known)
        return low, high


def _work_around(problem: Problem, work: Floats) -> tuple[Floats, Floats]:
    """For each unit the work that must be done with or before it, and with or behind it."""
    units = len(work)
    needs = np.eye(units, dtype=np.bool_)
    for unit, before in enumerate(problem.before):
        for earlier in before:
            needs[unit] |= needs[earlier]
    return needs @ work, needs.T @ work
