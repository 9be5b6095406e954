"""The bound along a chain of the graph for workers of any kind, with replicas and limited memory.

    least[workers used, cell] = the least period in which those workers reach the cell

A stage between two cells has the work between, moves at least what a minimum cut tells, and holds the weights of the
units that must be in it; what that costs each team follows as in `evaluate`. Through a chain each end of a link counts
as fast as this worker's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from beamsplit.models.split.solver.least_traffic import LeastTraffic
from beamsplit.models.split.solver.problem import CHAIN, Floats, Problem, Worker
from beamsplit.models.split.solver.spine import Spine, held_at_least, spine
from beamsplit.models.split.solver.spine_bound import PLACES, ROUNDING, Cells, cells_along, crossing_of
from beamsplit.models.split.solver.staffing import Staffing, Team, any_order

MOST_MOVES = 4_000
"""Ways to give workers to stages beyond which nothing is told."""

MOST_NUMBERS = 3e8
"""Pairs of cells times moves."""


def staffed_bound(
    problem: Problem, workers: Sequence[Worker], known: float, seconds: float, *, replicate: bool = False
) -> float:
    """Seconds below which no split's period is; 0 where the ways to give workers to stages are too many.

    Args:
        problem: the graph.
        workers: in whichever order is best.
        known: seconds; the period of a split that is known.
        seconds: of CPU that it may take, about.
        replicate: whether a stage may have several workers.
    """
    staffing = any_order(workers, replicate, MOST_MOVES)
    if staffing is None:
        return 0.0
    until = time.thread_time() + seconds
    chain = spine(problem, PLACES)
    fastest = max(move.team.speed for move in staffing.moves)
    work = problem.work / known
    most = int(min(1500, max(2 * len(chain.least), math.sqrt(MOST_NUMBERS / len(staffing.moves)))))
    cells = cells_along(chain, work, most)
    # Bytes are counted in what the slowest link takes the period that is known for.
    unit = known * min(worker.bandwidth for worker in workers)
    per_byte = 1 / unit if unit < math.inf else 0.0
    between = np.maximum(cells.low[None, :] - cells.high[:, None], 0.0)
    between[cells.place[:, None] > cells.place[None, :]] = math.inf
    # What a byte costs a team beside its work, in what a unit of bytes and of work are.
    byte = {team: team.top * staffing.link[team.level] * unit / known if per_byte else 0.0 for team in _teams(staffing)}
    if problem.links == CHAIN:
        crossing = crossing_of(LeastTraffic(problem, per_byte, work, downward=True), chain, cells, (0.0,))
        moved = crossing[:, None] + crossing[None, :]
        busy = {one: between + one * moved for one in set(byte.values())}
    else:
        busy = _busy(LeastTraffic(problem, per_byte, work), chain, cells, between, (set(byte.values()), fastest, until))
    limited = any(worker.memory_bytes < math.inf for worker in workers)
    held = held_at_least(problem, chain)[np.ix_(cells.place, cells.place)] if limited else None
    costs: dict[Team, Floats] = {}

    def cost(team: Team) -> Floats:
        if team not in costs:
            found = busy[byte[team]] / team.speed
            if held is not None:
                found = np.where(held > team.memory_bytes * (1 + ROUNDING), math.inf, found)
            costs[team] = found
        return costs[team]

    least = np.full((staffing.states, len(cells.place)), math.inf)
    least[0, 0] = 0.0
    for state in range(staffing.states):
        here = np.flatnonzero(least[state] <= 1 + ROUNDING)
        for move in staffing.moves_from[state] if len(here) else ():
            reached = np.maximum(least[state, here, None], cost(move.team)[here]).min(axis=0)
            np.minimum(least[move.end], reached, out=least[move.end])
    return float(min(least[:, -1].min() * (1 - ROUNDING), 1.0)) * known


def _teams(staffing: Staffing) -> set[Team]:
    return {move.team for move in staffing.moves}


def _busy(
    cuts: LeastTraffic, chain: Spine, cells: Cells, between: Floats, asked: tuple[set[float], float, float]
) -> dict[float, Floats]:
    """What a stage between two cells takes at least at speed 1, by what a byte costs; [cells, cells].

    `asked` is those costs of a byte, the speed of the fastest team, and until when to go on.
    """
    bytes_cost, fastest, until = asked
    last = len(chain.least) - 1
    pairs = []
    none = np.zeros((last + 1, last + 1))
    for begin in range(last):
        for end in range(begin + 1, last + 1):
            inside = ~chain.most[begin] & chain.least[end]
            if float(inside @ cuts.work) > fastest * (1 + ROUNDING):
                # No team does so much within the period that is known.
                none[begin, end:] = math.inf
                break
            pairs.append((begin, end, inside, chain.least[begin] | ~chain.most[end]))
    moved = none.copy()
    found: dict[float, Floats] = {}
    for price in (1.0, 0.0, 0.5):
        for one in sorted(bytes_cost):
            least = none.copy()
            for begin, end, inside, outside in pairs:
                late = time.thread_time() > until
                if price == 1.0:
                    if not moved[begin, end] and not late:
                        moved[begin, end] = cuts.least(inside, outside, 0.0)
                    least[begin, end] = one * moved[begin, end]
                elif one and not late and one * moved[begin, end] <= fastest * (1 + ROUNDING):
                    least[begin, end] = one * cuts.least(inside, outside, (1 - price) / one)
            expanded = least[np.ix_(cells.place, cells.place)] + (price * between if price else 0.0)
            found[one] = np.maximum(found[one], expanded) if one in found else np.maximum(between, expanded)
    return found
