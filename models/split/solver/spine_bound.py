"""A bound from the places where stages may begin and end along a chain of the graph (`spine.py`).

    least[stages, cell] = the least period in which the work up to there can be done

A cell is a place on the chain and a small range of work that is done there. A stage from one cell to another has at
least the work between, and moves at least what a minimum cut tells for its two places: units that the chain leaves free
are put wherever that moves least. With a price for the work of free units (as in the Lagrangian of Archer et al. 2023,
arXiv 2311.03703, section 4) the cut also tells what more or less of it would cost:

    cost >= least over all sets of (traffic + (1 - price) * work) + price * work between the cells
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beamsplit.models.split.solver.least_traffic import LeastTraffic
from beamsplit.models.split.solver.problem import CHAIN, Bools, Floats, Ints, Problem, Worker
from beamsplit.models.split.solver.spine import Spine, held_at_least, spine

PRICES = (1.0, 0.0, 0.5, 2.0)
"""Of work in stages, the most telling first."""

SLOPES = (0.0, 0.1, -0.1, 0.3, -0.3, 1.0, -1.0, 3.0, -3.0)
"""Of a cut's traffic over the work before it."""

MOST_CELLS = 2_000

PLACES = 60
"""Along the chain where pairs of them are looked at, for six workers."""

FINEST = 1 / 1000
"""Of the period that is known: the work that a cell spans."""

ROUNDING = 1e-7
"""Share by which what is counted may be too much."""


@dataclass(frozen=True)
class SpineBound:
    """What the chain tells."""

    known: float
    """Seconds; the period of a split that is known."""

    bound: float
    """Seconds; proven: no split has a shorter period."""

    done: Bools
    """Units that are done before each boundary in every split better than the known one; [boundaries, units]."""

    open: Bools
    """Units that may be."""

    table: Table | None = None
    """What it was told by; None where boundaries are not told."""

    @classmethod
    def of_known(cls, problem: Problem, stages: int, known: float, bound: float = 0.0) -> SpineBound:
        """Nothing but a bound: any unit may lie before any boundary."""
        every = np.ones((max(stages - 1, 0), len(problem.seconds)), dtype=np.bool_)
        return cls(known, bound, ~every, every)

    def below(self, period: float) -> SpineBound:
        """What is told of every split that is better than this."""
        if self.table is None or period >= self.known:
            return self
        done, may = self.table.windows(period / self.table.known)
        return SpineBound(period, min(self.bound, period), done, may, self.table)

    def near_best(self) -> SpineBound:
        """Only splits that lie about as what has the bound: there a better one is found soon. Proves nothing."""
        if self.table is None:
            return self
        done, may = self.table.near_best()
        return SpineBound(self.known, self.bound, done & self.open, may | self.done)


def spine_bound(
    problem: Problem, worker: Worker, stages: int, known: float, seconds: float, *, replicate: bool = False
) -> SpineBound:
    """The bound for workers that are alike.

    Args:
        problem: the graph.
        worker: each of them.
        stages: workers; stages there are at most so many.
        known: seconds; the period of a split that is known.
        seconds: of CPU that it may take, about.
        replicate: whether a stage may have several workers; the boundaries are then not told.
    """
    until = time.thread_time() + seconds
    work = problem.work / worker.speed / known
    per_byte = 1 / worker.bandwidth / known
    direct = problem.links != CHAIN
    places = int(min(1.5 * PLACES, max(PLACES / 3, PLACES * math.sqrt(stages / 6)))) if direct else 300
    chain = spine(problem, places)
    cells = cells_along(chain, work, MOST_CELLS)
    if direct:
        cost = _direct(LeastTraffic(problem, per_byte, work), chain, cells, until)
    else:
        cost = _through(LeastTraffic(problem, per_byte, work, downward=True), chain, cells)
    if worker.memory_bytes < math.inf:
        held = held_at_least(problem, chain)[np.ix_(cells.place, cells.place)]
        cost[held > worker.memory_bytes * (1 + ROUNDING)] = math.inf
    forward = _forward(cost, stages, replicate)
    bound = float(forward[:, -1].min())
    bound = min(bound * (1 - ROUNDING), 1.0) * known
    if replicate or bound >= known:
        return SpineBound.of_known(problem, 1 if replicate else stages, known, bound)
    table = Table(known, chain, cells, cost, forward)
    return SpineBound(known, bound, *table.windows(1.0), table)


@dataclass(frozen=True)
class Cells:
    """Places with a range of work that is done there, the first places first."""

    place: Ints
    low: Floats
    """Work that is done at least; [cells]."""

    high: Floats


def cells_along(chain: Spine, work: Floats, most: int) -> Cells:
    """About so many cells at most, each of a thousandth of the period that is known at least."""
    low, high = chain.least @ work, chain.most @ work
    step = FINEST
    while True:
        counts = np.maximum(np.ceil((high - low) / step * (1 - 1e-12)).astype(np.int64), 1)
        if counts.sum() <= max(most, len(low)):
            break
        step *= 1.3
    place = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = ((high - low) / counts)[place]
    first = low[place] + number * width
    return Cells(place, first, first + width)


def _direct(cuts: LeastTraffic, chain: Spine, cells: Cells, until: float) -> Floats:
    """What a stage between two cells costs at least; [cells, cells]."""
    work = cuts.work
    last = len(chain.least) - 1
    cost = np.maximum(cells.low[None, :] - cells.high[:, None], 0.0)
    cost[cells.place[:, None] > cells.place[None, :]] = math.inf
    first = np.searchsorted(cells.place, np.arange(last + 2))
    pairs = []
    for begin in range(last):
        for end in range(begin + 1, last + 1):
            inside = ~chain.most[begin] & chain.least[end]
            if float(inside @ work) > 1:
                cost[first[begin] : first[begin + 1], first[end] :] = math.inf
                break
            pairs.append((begin, end, inside, chain.least[begin] | ~chain.most[end]))
    for price in PRICES:
        for begin, end, inside, outside in pairs:
            if time.thread_time() > until:
                break
            block = cost[first[begin] : first[begin + 1], first[end] : first[end + 1]]
            if not (block <= 1).any():
                continue
            least = cuts.least(inside, outside, 1 - price)
            between = cells.low[None, first[end] : first[end + 1]] - cells.high[first[begin] : first[begin + 1], None]
            np.maximum(block, least + price * between, out=block)
    return cost


def _through(cuts: LeastTraffic, chain: Spine, cells: Cells) -> Floats:
    """The same through a chain of workers: what crosses each of the two cells is moved."""
    crossing = crossing_of(cuts, chain, cells, SLOPES)
    cost: Floats = np.maximum(cells.low[None, :] - cells.high[:, None], 0.0) + crossing[:, None] + crossing[None, :]
    cost[cells.place[:, None] > cells.place[None, :]] = math.inf
    return cost


def crossing_of(cuts: LeastTraffic, chain: Spine, cells: Cells, slopes: Sequence[float]) -> Floats:
    """What crosses a cut at each cell at least; [cells]."""
    crossing = np.zeros(len(cells.place))
    for place in range(len(chain.least)):
        here = cells.place == place
        for slope in slopes:
            least = cuts.least(chain.least[place], ~chain.most[place], slope)
            np.maximum(crossing, least - slope * (cells.high if slope > 0 else cells.low), out=crossing, where=here)
            if (chain.least[place] == chain.most[place]).all():
                break
    return crossing


def _forward(cost: Floats, workers: int, replicate: bool) -> Floats:
    """The least period in which so many workers reach each cell from the first; [workers + 1, cells]."""
    least = np.full((workers + 1, len(cost)), math.inf)
    least[:, 0] = 0.0
    for used in range(1, workers + 1):
        for team in range(1, (used if replicate else 1) + 1):
            reached = np.maximum(least[used - team][:, None], cost / team).min(axis=0)
            np.minimum(least[used], reached, out=least[used])
        # Workers may be left out.
        np.minimum(least[used], least[used - 1], out=least[used])
    return least


@dataclass(frozen=True)
class Table:
    """Least periods from cell to cell, in shares of a period that was known."""

    known: float
    chain: Spine
    cells: Cells
    cost: Floats
    """Of a stage; [cells, cells]."""

    forward: Floats
    """Of so many stages from the first cell; [stages + 1, cells]."""

    def windows(self, period: float) -> tuple[Bools, Bools]:
        """Units that are done before each boundary in every split of at most this period, and those that may be."""
        stages, units = len(self.forward) - 1, self.chain.least.shape[1]
        backward = np.full(len(self.cost), math.inf)
        backward[-1] = 0.0
        done = np.ones((stages - 1, units), dtype=np.bool_)
        may = np.zeros((stages - 1, units), dtype=np.bool_)
        for boundary in range(stages - 1, 0, -1):
            backward = np.minimum(np.maximum(self.cost, backward[None, :]).min(axis=1), backward)
            alive = np.maximum(self.forward[boundary], backward) <= period * (1 + 1e-9)
            places = np.unique(self.cells.place[alive])
            if len(places):
                done[boundary - 1] = self.chain.least[places].all(axis=0)
                may[boundary - 1] = self.chain.most[places].any(axis=0)
        return done, may | done

    def near_best(self) -> tuple[Bools, Bools]:
        """The same for the neighbourhood of a way that has the least period."""
        stages, last = len(self.forward) - 1, len(self.chain.least) - 1
        done, may, cell = [], [], len(self.cost) - 1
        for boundary in range(stages - 1, 0, -1):
            period = np.maximum(self.forward[boundary], self.cost[:, cell])
            # A stage may be empty.
            period[cell] = min(period[cell], self.forward[boundary, cell])
            cell = int(period.argmin())
            place = int(self.cells.place[cell])
            done.append(self.chain.least[max(place - 1, 0)])
            may.append(self.chain.most[min(place + 1, last)])
        return np.array(done[::-1]), np.array(may[::-1])
