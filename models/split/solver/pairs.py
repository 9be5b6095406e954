"""The least period over all pairs of places: for links where a stage's bytes depend on both of its ends.

    best[workers used, stages, place] = the least period in which the units before this place can run

Places are worked through by what lies before them (levels: no place of a level lies inside another), so that one pass
is exact (dynamic programming over ideals, Tarnawski et al. 2020, section 4). Dominated entries are dropped: those whose
period is not below one that is known, and those after which what is left is too much for the workers that are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from beamsplit.models.split.solver.period import ANY_PERIOD, Solution
from beamsplit.models.split.solver.problem import Bools, Floats, Ints
from beamsplit.models.split.solver.staffing import Move, Staffing, Team

_ROUNDING = 1e-9
"""Share by which sums of floats may differ from one another."""


class Places(Protocol):
    """Cuts whose pairs can be looked at."""

    starts: Floats
    crossing: Floats
    allowed: Bools

    def levels(self) -> Iterator[tuple[int, int]]:
        """Runs of places (first, behind the last) none of which lies inside another, from the second place on."""

    def inside(self, starts: Ints, ends: Ints) -> Bools:
        """Whether a stage may go from one to the other; [starts, ends]."""

    def kept(self, starts: Ints, ends: Ints) -> Floats:
        """Bytes that cross both ends and that a stage between does not move; [starts, ends]."""

    def fits(self, starts: Ints, ends: Ints, memory_bytes: float) -> Bools:
        """Whether the stage between fits; [starts, ends], for pairs that lie inside one another."""


@dataclass(frozen=True)
class _Pairs:
    """Stages between some places."""

    starts: Ints
    ends: Ints
    work: Floats
    moved: Floats
    inside: Bools


class PairSolver:
    """Least periods over one set of places and one staffing; as `period.Search`."""

    def __init__(self, places: Places, staffing: Staffing, stages: int | None) -> None:
        self.places, self.staffing, self.stages = places, staffing, stages
        self._rows = 1 if stages is None or staffing.counts_stages else stages + 1
        self._shift = 0 if self._rows == 1 else 1
        self._found: tuple[Solution, float] | None = None
        self._left = _speed_left(staffing)

    def within(self, period: float) -> Solution | None:
        """The split with the least period, or None: there is none of at most this many seconds."""
        table = self._table(period)
        found = self._follow(table)
        if found is not None:
            self._found = (found, found.period)
        return found

    def least(
        self, low: float = 0.0, known: Solution | None = None, tolerance: float = 0.0
    ) -> tuple[Solution | None, float]:
        """The split with the least period, which is proven; see `period.Search.least`."""
        if known is not None and self._found is not None and self._found[0] is known:
            return known, known.period
        found = self.within(known.period if known else ANY_PERIOD) or known
        return found, math.inf if found is None else found.period

    def _table(self, limit: float) -> Floats:
        places, staffing = self.places, self.staffing
        table = np.full((staffing.states, self._rows, len(places.starts)), math.inf)
        # Workers that are left out at the beginning do nothing.
        table[: staffing.states if staffing.idle else 1, 0, 0] = 0.0
        last = len(places.starts) - 1
        # Entries after which too much is left are of no use. Not for the last place: nothing is left there.
        room = self._left * (limit * (1 + _ROUNDING)) if limit < ANY_PERIOD else np.full(staffing.states, math.inf)
        for begin, end in places.levels():
            ends = np.flatnonzero(places.allowed[begin:end]) + begin
            if not len(ends):
                continue
            alive = np.flatnonzero((table[:, :, :begin] < math.inf).any(axis=(0, 1)))
            reach = limit * (1 + _ROUNDING) * self._fastest
            alive = alive[places.starts[alive] >= places.starts[ends].min() - reach]
            if not len(alive):
                continue
            self._level(table, self._pairs(alive, ends), limit)
            rest = places.starts[last] - places.starts[ends]
            useless = rest[None, :] > room[:, None] * (1 + _ROUNDING)
            for row in range(self._rows):
                part = table[:, row, ends]
                part[useless] = math.inf
                if staffing.idle:
                    part = np.minimum.accumulate(part, axis=0)
                table[:, row, ends] = part
        return table

    def _level(self, table: Floats, pairs: _Pairs, limit: float) -> None:
        costs: dict[Team, Floats] = {}
        width = self._rows - self._shift
        for state in range(self.staffing.states):
            before = table[state, :width][:, pairs.starts]
            some = before < math.inf
            if not some.any():
                continue
            for move in self.staffing.moves_from[state]:
                if move.team not in costs:
                    costs[move.team] = self._costs(pairs, move.team, limit)
                for row in range(width):
                    used = np.flatnonzero(some[row])
                    if len(used):
                        now = np.maximum(before[row, used, None], costs[move.team][used]).min(axis=0)
                        at = (move.end, row + self._shift, pairs.ends)
                        table[at] = np.minimum(table[at], now)

    def _pairs(self, starts: Ints, ends: Ints) -> _Pairs:
        places = self.places
        work = places.starts[ends][None, :] - places.starts[starts][:, None]
        moved = places.crossing[ends][None, :] + places.crossing[starts][:, None] - places.kept(starts, ends)
        return _Pairs(starts, ends, np.maximum(work, 0.0), np.maximum(moved, 0.0), places.inside(starts, ends))

    def _costs(self, pairs: _Pairs, team: Team, limit: float) -> Floats:
        link = self.staffing.link[team.level]
        cost: Floats = (pairs.work + team.top * link * pairs.moved) / team.speed
        cost = np.where(pairs.inside & (cost <= limit), cost, math.inf)
        if team.memory_bytes < math.inf:
            cost[~self.places.fits(pairs.starts, pairs.ends, team.memory_bytes)] = math.inf
        return cost

    @property
    def _fastest(self) -> float:
        return max(move.team.speed for move in self.staffing.moves)

    def _follow(self, table: Floats) -> Solution | None:
        staffing = self.staffing
        place, row = table.shape[2] - 1, self._rows - 1
        finals = [
            state
            for state in sorted(range(staffing.states), key=lambda state: staffing.used[state])
            if self.stages is None or not staffing.counts_stages or staffing.used[state] == self.stages
        ]
        state = min(finals, key=lambda one: float(table[one, row, place]))
        if not table[state, row, place] < math.inf or place == 0:
            return None
        places, teams, costs = [place], [], []
        while place:
            if staffing.idle and state and table[state - 1, row, place] <= table[state, row, place]:
                state -= 1
                continue
            cost, move, start = self._step_back(table, state, row, place)
            row -= self._shift
            state, place = move.start, start
            places.append(place)
            teams.append(move.team)
            costs.append(cost)
        return Solution(tuple(places[::-1]), tuple(teams[::-1]), max(costs))

    def _step_back(self, table: Floats, state: int, row: int, place: int) -> tuple[float, Move, int]:
        best: tuple[float, float, Move, int] | None = None
        before = table[:, row - self._shift, :place]
        starts = np.flatnonzero((before < math.inf).any(axis=0))
        pairs = self._pairs(starts, np.array([place], dtype=np.int64))
        for move in self.staffing.moves_to[state]:
            cost = self._costs(pairs, move.team, ANY_PERIOD)[:, 0]
            period = np.maximum(before[move.start, starts], cost)
            at = int(period.argmin())
            if period[at] < math.inf and (best is None or period[at] < best[0]):
                best = (float(period[at]), float(cost[at]), move, int(starts[at]))
        assert best is not None
        return best[1], best[2], best[3]


def _speed_left(staffing: Staffing) -> Floats:
    """The most speed that may still be used after each state."""
    left = np.zeros(staffing.states)
    for state in range(staffing.states - 1, -1, -1):
        after = [move.team.speed + left[move.end] for move in staffing.moves_from[state]]
        if staffing.idle and state + 1 < staffing.states:
            after.append(left[state + 1])
        left[state] = max(after, default=0.0)
    return left
