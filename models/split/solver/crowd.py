"""Many workers in one order: how many of them the units before each place take at least within a period.

    used[stages, level of the link, place] = fewest workers, from the first on, behind which these units are done

A stage takes a run of neighbours and workers may be left out, so that fewer used are never worse: one number stands for
a column of the table of `period.Solver`. Neighbours that are alike form a class, and from the class where a team begins
and that where it ends follow its fastest worker, its link and its memory. So a stage from place i to place j wants the
speed (g[i] + h[j]) / period, and how many workers that takes is counted instead of tried: 1,000 of them take no longer
than 10. (The probe of Pinar and Aykanat 2004, J. Parallel and Distributed Computing 64(8), turned round: it counts the
workers that the units take, not the units that a worker takes.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from beamsplit.models.split.solver.chain import Cuts
from beamsplit.models.split.solver.period import Search, Solution
from beamsplit.models.split.solver.problem import Floats, Ints, Worker
from beamsplit.models.split.solver.staffing import Team, link_of, named

_LEAST = 5e-324
"""Seconds: the smallest number above 0."""

MOST_CLASSES = 6
"""Classes of neighbours; more of them are put together, each as good as its weakest worker."""


@dataclass(frozen=True)
class Crowd:
    """Workers in one order, in classes of neighbours that count as alike."""

    classes: tuple[tuple[int, ...], ...]
    """Indices of the workers of each class."""

    kinds: tuple[Worker, ...]
    """What each worker of a class counts as."""

    exact: bool
    """Whether they are all that they are counted as."""

    @cached_property
    def first(self) -> tuple[int, ...]:
        """For each class how many workers stand before it; then all of them."""
        return tuple(itertools.accumulate((len(members) for members in self.classes), initial=0))

    @cached_property
    def speed(self) -> Floats:
        """Speed of all workers before each position."""
        each = [kind.speed for kind, members in zip(self.kinds, self.classes, strict=True) for _ in members]
        return np.concatenate([[0.0], np.cumsum(each)])

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Bandwidths, the slowest first."""
        return tuple(sorted({kind.bandwidth for kind in self.kinds}))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """All pairs of classes where a team may begin and end."""
        return tuple(
            Span(
                begin,
                end,
                max(kind.speed for kind in self.kinds[begin : end + 1]),
                min(kind.memory_bytes for kind in self.kinds[begin : end + 1]),
                min(self.levels.index(kind.bandwidth) for kind in self.kinds[begin : end + 1]),
            )
            for begin in range(len(self.kinds))
            for end in range(begin, len(self.kinds))
        )

    @property
    def link(self) -> tuple[float, ...]:
        """Seconds per byte at each level of bandwidth, the slowest first."""
        return link_of(self.levels)

    def name(self, teams: Sequence[Team]) -> tuple[tuple[int, ...], ...]:
        """The workers of each team in turn."""
        return named(self.classes, teams)

    def team(self, span: Span, start: int, end: int) -> Team:
        """The workers from one position to another."""
        take = tuple(max(0, min(end, behind) - max(start, before)) for before, behind in itertools.pairwise(self.first))
        return Team(take, float(self.speed[end] - self.speed[start]), span.top, span.memory_bytes, span.level)


@dataclass(frozen=True)
class Span:
    """Teams that begin in one class and end in another, or the same."""

    begin: int
    end: int
    top: float
    """Speed of the fastest worker."""

    memory_bytes: float
    """Of the smallest worker."""

    level: int
    """The slowest worker's bandwidth, as an index into `Crowd.link`."""


@dataclass(frozen=True)
class LinkedSpan:
    """Teams of a span by the links at their ends."""

    span: Span
    begin: int
    """Bandwidth at which they receive, as an index into `Crowd.link`."""

    end: int
    """Bandwidth at which they send."""


def crowd(workers: Sequence[Worker], order: Sequence[int]) -> Crowd:
    """The workers in this order."""
    runs = [(kind, tuple(run)) for kind, run in itertools.groupby(order, key=lambda at: workers[at])]
    if len(runs) <= MOST_CLASSES:
        return Crowd(tuple(run for _, run in runs), tuple(kind for kind, _ in runs), True)
    ends = [round(len(order) * at / MOST_CLASSES) for at in range(MOST_CLASSES + 1)]
    classes = tuple(tuple(order[start:end]) for start, end in itertools.pairwise(ends) if end > start)
    return Crowd(classes, tuple(_weakest([workers[at] for at in members]) for members in classes), False)


def _weakest(members: Sequence[Worker]) -> Worker:
    return Worker(
        min(one.speed for one in members),
        min(one.memory_bytes for one in members),
        min(one.bandwidth for one in members),
    )


class CrowdSolver(Search):
    """Least periods over one set of cuts and one crowd."""

    def __init__(self, cuts: Cuts, workers: Crowd, stages: int | None) -> None:
        super().__init__(cuts, workers.link)
        self.workers, self.stages = workers, stages
        self._rows = 1 if stages is None else stages + 1
        self._starts: dict[float, list[Ints]] = {}

    def attempt(self, period: float, near: bool) -> tuple[Solution | None, float]:
        """See `Search`."""
        used, rejected = self._used(period, near)
        return self._follow(used, period), rejected

    def _used(self, period: float, want_rejected: bool) -> tuple[Ints, float]:
        workers, places = self.workers, len(self.cuts.starts)
        none = workers.first[-1] + 1
        used = np.full((self._rows, len(workers.levels), places), none, dtype=np.int64)
        used[0, :, 0] = 0
        shift = 0 if self._rows == 1 else 1
        rejected = math.inf
        for place in range(1, places):
            if not self.cuts.allowed[place]:
                continue
            for way in self._ways():
                starts = self._starts_of(place, way.span.memory_bytes)
                if not len(starts):
                    continue
                before = used[: self._rows - shift, way.begin, starts]
                start, ends, refused = self._ends(way, place, starts, before, period, want_rejected)
                now = used[shift:, way.end, place]
                np.minimum(now, np.where(start < none, ends, none).min(axis=1), out=now)
                if refused is not None:
                    rejected = min(rejected, float(np.min(refused, where=start < none, initial=math.inf)))
        return used, rejected

    def _ways(self) -> Iterator[LinkedSpan]:
        for span in self.workers.spans:
            for begin in range(span.level + 1):
                for end in range(span.level + 1):
                    yield LinkedSpan(span, begin, end)

    def _starts_of(self, place: int, memory_bytes: float) -> Ints:
        if memory_bytes not in self._starts:
            count = len(self.cuts.starts)
            self._starts[memory_bytes] = [self.cuts.starts_of(at, memory_bytes) for at in range(count)]
        return self._starts[memory_bytes][place]

    def _ends(
        self, way: LinkedSpan, place: int, starts: Ints, before: Ints, period: float, want_refused: bool
    ) -> tuple[Ints, Ints, Floats | None]:
        """Where teams begin, where they end at the earliest, and the least cost that was refused; all [rows, starts].

        Where no team of that span will do, it begins behind all workers.
        """
        workers, span = self.workers, way.span
        none = workers.first[-1] + 1
        low, high = workers.first[span.end], workers.first[span.end + 1]
        numbers = self._numbers(way, place, starts)
        start = np.maximum(before, workers.first[span.begin])
        start = np.where(start < workers.first[span.begin + 1], start, none)
        # Positions that no team begins at stand for nothing: any speed will do there.
        behind = workers.speed[np.minimum(start, high)]
        least = np.maximum(np.minimum(start, high), low) + 1
        with np.errstate(over="ignore"):
            wanted = behind + numbers / (period or _LEAST)
        # Sums of speeds are rounded, and so is what is wanted of them: by a little less, and then costs decide.
        ends = np.maximum(workers.speed.searchsorted(wanted * (1 - 1e-12)), least)
        ends = ends + (self._cost(numbers, behind, ends) > period)
        refused = None
        if want_refused:
            fewer = np.minimum(ends - 1, high)
            refused = np.where(fewer >= least, self._cost(numbers, behind, fewer), math.inf)
        return start, np.where(ends <= high, ends, none), refused

    def _numbers(self, way: LinkedSpan, place: int, starts: Ints) -> Floats:
        """What stages from each start to the place take, times their team's speed."""
        numbers: Floats = self._keys(way.begin, way.span.top)[0][starts] + self._keys(way.end, way.span.top)[1][place]
        return numbers

    def _cost(self, numbers: Floats, behind: Floats, ends: Ints) -> Floats:
        """Seconds of a stage whose team ends there; beyond all workers it takes for ever."""
        speed = self.workers.speed
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = numbers * (1.0 / (speed[np.minimum(ends, len(speed) - 1)] - behind))
        return np.where(ends < len(speed), cost, math.inf)

    def _follow(self, used: Ints, period: float) -> Solution | None:
        row, place = self._rows - 1, used.shape[2] - 1
        level = int(used[row, :, place].argmin())
        position = int(used[row, level, place])
        if position > self.workers.first[-1]:
            return None
        places, teams, costs = [place], [], []
        while place:
            cost, level, place, position, team = self._step_back(used, row, level, place, position, period)
            row -= 0 if self._rows == 1 else 1
            places.append(place)
            teams.append(team)
            costs.append(cost)
        assert max(costs) <= period
        return Solution(tuple(places[::-1]), tuple(teams[::-1]), max(costs))

    def _step_back(
        self, used: Ints, row: int, level: int, place: int, position: int, period: float
    ) -> tuple[float, int, int, int, Team]:
        best: tuple[float, int, int, int, Team] | None = None
        earlier = row if self._rows == 1 else row - 1
        for way in self._ways():
            span = way.span
            starts = self._starts_of(place, span.memory_bytes)
            if way.end != level or not len(starts):
                continue
            before = used[earlier : earlier + 1, way.begin, starts]
            start, ends, _ = self._ends(way, place, starts, before, period, False)
            numbers = self._numbers(way, place, starts)
            # Whoever is free up to here may help.
            fits = (ends[0] <= position) & (start[0] < position)
            last = min(position, self.workers.first[span.end + 1])
            cost = self._cost(numbers, self.workers.speed[np.where(fits, start[0], 0)], np.full(len(starts), last))
            cost = np.where(fits, cost, math.inf)
            at = int(cost.argmin())
            if cost[at] < math.inf and (best is None or cost[at] < best[0]):
                team = self.workers.team(span, int(start[0, at]), last)
                best = (float(cost[at]), way.begin, int(starts[at]), int(before[0, at]), team)
        assert best is not None
        return best


class DirectCrowdSolver(CrowdSolver):
    """The same where values go from their producer straight to who reads them, each end at its own bandwidth."""

    def _ways(self) -> Iterator[LinkedSpan]:
        return (LinkedSpan(span, 0, 0) for span in self.workers.spans)

    def _numbers(self, way: LinkedSpan, place: int, starts: Ints) -> Floats:
        span = way.span
        begin, end = self._keys(span.level, span.top)
        kept = self.cuts.kept(starts, np.array([place], dtype=np.int64))[:, 0]
        numbers: Floats = begin[starts] + end[place] - span.top * self._link[span.level] * kept
        return numbers
