"""The least period over given cuts and staffing: bisection on the period, a table of what it can reach.

    reach[workers used, level of the link, stages, place] = can the units before this place run
                                                            within the period?

A stage from place i to place j costs (h[j] + g[i]) / S, where h and g depend on one end each:

    g[i] = v * link * crossing[i] - starts[i]        h[j] = v * link * crossing[j] + ends[j]

so the best start for every j is a running lowest of g, and one period is tested in time linear in the places (the
chain partition of Archer et al. 2023, arXiv 2311.03703, section 3; unlike workers as in PipeEdge, Hu et al. 2022).
A link is as slow as its slower end: a table entry promises the level of the link, and a team may only promise levels
that it reaches. A slower promise costs more, so the cheapest promise is the true one.
"""

from __future__ import annotations

import abc
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beamsplit.models.split.solver.chain import Cuts
from beamsplit.models.split.solver.problem import Bools, Floats
from beamsplit.models.split.solver.staffing import Staffing, Team

ANY_PERIOD = sys.float_info.max
"""Seconds that every finite cost stays within."""

_EXACT = 1e-9
"""Below this relative distance between bounds, costs are tried one by one instead of halving."""


@dataclass(frozen=True)
class Solution:
    """A split along given cuts."""

    places: tuple[int, ...]
    """Where stages begin and end, the first and the last place included."""

    teams: tuple[Team, ...]
    """The workers of each stage."""

    period: float
    """Seconds per micro-batch."""


class Search(abc.ABC):
    """The least period, by halving what lies between a split that is known and a bound."""

    def __init__(self, cuts: Cuts, link: Sequence[float]) -> None:
        """`link` has the seconds per byte at each level of bandwidth."""
        self.cuts = cuts
        self._link = link
        self._begin: dict[float, Floats] = {}
        self._end: dict[float, Floats] = {}

    @abc.abstractmethod
    def attempt(self, period: float, near: bool) -> tuple[Solution | None, float]:
        """(a split whose period is at most this many seconds, or None: there is none; the least cost that was refused).

        Args:
            period: seconds.
            near: whether that cost is asked for, up to which nothing would change; else it may be infinite.
        """

    def within(self, period: float) -> Solution | None:
        """A split whose period is at most this many seconds, or None: there is none."""
        return self.attempt(period, False)[0]

    def least(
        self, low: float = 0.0, known: Solution | None = None, tolerance: float = 0.0
    ) -> tuple[Solution | None, float]:
        """The split with the least period, and the bound that was proven on the way.

        Args:
            low: seconds; a bound proven elsewhere.
            known: a split to start from.
            tolerance: stop when the period is within this share of the bound; 0: exact in floating point.

        Returns:
            None and infinity if no split exists.
        """
        found = known or self.within(ANY_PERIOD)
        if found is None:
            return None, math.inf
        low = min(low, found.period)
        while found.period - low > tolerance * found.period:
            near = found.period - low <= 1e-5 * found.period
            period = low if found.period - low <= _EXACT * found.period else (low + found.period) / 2
            better, rejected = self.attempt(period, near)
            if better is not None:
                found = better
            else:
                # Up to the lowest cost that was refused, the table would not change.
                low = min(rejected, found.period) if near else period
        return found, min(low, found.period)

    def _keys(self, level: int, top: float) -> tuple[Floats, Floats]:
        """g and h of every place, for a team whose fastest worker has the speed `top`."""
        per_byte = top * self._link[level]
        if per_byte not in self._begin:
            self._begin[per_byte] = per_byte * self.cuts.crossing - self.cuts.starts
            # Nothing is reached where no cut may lie, so no stage begins there either.
            self._end[per_byte] = np.where(self.cuts.allowed, per_byte * self.cuts.crossing + self.cuts.ends, math.inf)
        return self._begin[per_byte], self._end[per_byte]


class Solver(Search):
    """Least periods over one set of cuts and one staffing."""

    def __init__(self, cuts: Cuts, staffing: Staffing, stages: int | None) -> None:
        super().__init__(cuts, staffing.link)
        self.staffing, self.stages = staffing, stages
        self._rows = 1 if stages is None or staffing.counts_stages else stages + 1
        self._finals = [
            state
            for state in sorted(range(staffing.states), key=lambda state: staffing.used[state])
            if stages is None or not staffing.counts_stages or staffing.used[state] == stages
        ]

    def attempt(self, period: float, near: bool) -> tuple[Solution | None, float]:
        """See `Search`."""
        reach, rejected = self._reach(period, near)
        return self._follow(reach, period), rejected

    def _reach(self, period: float, want_rejected: bool) -> tuple[Bools, float]:
        staffing, cuts = self.staffing, self.cuts
        levels = len(staffing.link)
        reach = np.zeros((staffing.states, levels, self._rows, len(cuts.starts)), dtype=np.bool_)
        reach[0, :, 0, 0] = True
        rejected = math.inf
        shift = 0 if self._rows == 1 else 1
        for state in range(staffing.states):
            if staffing.idle and state:
                reach[state] |= reach[state - 1]
            lowest: dict[tuple[float, int, float], Floats] = {}
            for move in staffing.moves_from[state]:
                team = move.team
                for begin in range(team.level + 1):
                    source = reach[state, begin, : self._rows - shift]
                    key = (team.top, begin, team.memory_bytes)
                    if key not in lowest:
                        from_here = np.where(source, self._keys(begin, team.top)[0], math.inf)
                        lowest[key] = cuts.lowest(from_here, team.memory_bytes)
                    for end in range(team.level + 1):
                        cost = (lowest[key] + self._keys(end, team.top)[1]) * (1.0 / team.speed)
                        reached = cost <= period
                        reach[move.end, end, shift:] |= reached
                        if want_rejected:
                            rejected = min(rejected, float(np.min(cost, where=~reached, initial=math.inf)))
        return reach, rejected

    def _follow(self, reach: Bools, period: float) -> Solution | None:
        row = 0 if self._rows == 1 else self._rows - 1
        place = reach.shape[3] - 1
        ends = [(state, level) for state in self._finals for level in range(reach.shape[1])]
        at = next(((s, level) for s, level in ends if reach[s, level, row, place]), None)
        if at is None or place == 0:
            return None
        state, level = at
        places, teams, costs = [place], [], []
        while place or state:
            if self.staffing.idle and state and reach[state - 1, level, row, place]:
                state -= 1
                continue
            if place == 0:
                break
            cost, state, level, place, team = self._step_back(reach, state, level, row, place)
            row -= 0 if self._rows == 1 else 1
            places.append(place)
            teams.append(team)
            costs.append(cost)
        assert max(costs) <= period
        return Solution(tuple(places[::-1]), tuple(teams[::-1]), max(costs))

    def _step_back(
        self, reach: Bools, state: int, level: int, row: int, place: int
    ) -> tuple[float, int, int, int, Team]:
        best: tuple[float, int, int, int, Team] | None = None
        earlier = row if self._rows == 1 else row - 1
        for move in self.staffing.moves_to[state]:
            team = move.team
            if level > team.level:
                continue
            starts = self.cuts.starts_of(place, team.memory_bytes)
            ends = self._keys(level, team.top)[1][place]
            for begin in range(team.level + 1):
                open_starts = starts[reach[move.start, begin, earlier, starts]]
                if not len(open_starts):
                    continue
                keys = self._keys(begin, team.top)[0][open_starts]
                lowest = int(np.argmin(keys))
                cost = float((keys[lowest] + ends) * (1.0 / team.speed))
                if best is None or cost < best[0]:
                    best = (cost, move.start, begin, int(open_starts[lowest]), team)
        assert best is not None
        return best
