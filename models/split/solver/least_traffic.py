"""The least that a stage has to move, by minimum cuts: over all sets of units that may be the stage, or the cut.

A network whose source side is the set: each value is cut where it would have to travel.

    out of the stage   producer --bytes--> [out] --oo--> each reader       cut if made inside and read outside
    into the stage     each reader --oo--> [in] --bytes--> producer        cut if read inside and made outside

Capacities are whole numbers, rounded down: what is found is never too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from beamsplit.models.split.solver.problem import Bools, Floats, Ints, Problem

_SCALE = 1e7
"""Whole numbers that stand for 1."""

_MOST = 1_900_000_000
"""What stands for a capacity without end: all that a network of 32 bits can carry."""

_Arc = Callable[[int, int, float], None]


class LeastTraffic:
    """Minimum cuts of one problem, for many stages.

    Args:
        problem: the graph.
        per_byte: what a byte costs.
        work: what the work of each unit costs, in the same measure.
        downward: whether a set with a unit has all that the unit needs, and no traffic into it: for cuts, not stages.
    """

    def __init__(self, problem: Problem, per_byte: float, work: Floats, *, downward: bool = False) -> None:
        self.work = work
        self.units = len(work)
        self._source, self._sink = self.units, self.units + 1
        self._nodes = self.units + 2
        tails: list[int] = []
        heads: list[int] = []
        caps: list[float] = []

        def arc(tail: int, head: int, cost: float) -> None:
            tails.append(tail)
            heads.append(head)
            caps.append(cost)

        for value in problem.values:
            cost = value.nbytes * per_byte
            readers = sorted(set(value.consumers))
            if downward and value.producer >= 0:
                for reader in readers:
                    arc(reader, value.producer, math.inf)
            if not value.may_cross and value.producer >= 0:
                for reader in readers:
                    arc(value.producer, reader, math.inf)
                    if not downward:
                        arc(reader, value.producer, math.inf)
                readers = []
            if not cost or not (readers or value.is_output):
                continue
            home = value.producer if value.producer >= 0 else (self._source if downward else self._sink)
            goals = [*readers, *([self._sink] if value.is_output else [])]
            if home != self._sink:
                self._joined(arc, home, goals, cost, True)
            if not downward:
                self._joined(arc, home, readers, cost, False)
        self._tails: Ints = np.array(tails, dtype=np.int64)
        self._heads: Ints = np.array(heads, dtype=np.int64)
        self._caps: Floats = np.array(caps)

    def _joined(self, arc: _Arc, home: int, others: Sequence[int], cost: float, out: bool) -> None:
        if not others:
            return
        if len(others) == 1:
            arc(*((home, others[0]) if out else (others[0], home)), cost)
            return
        middle = self._nodes
        self._nodes += 1
        arc(*((home, middle) if out else (middle, home)), cost)
        for other in others:
            arc(*((middle, other) if out else (other, middle)), math.inf)

    def least(self, inside: Bools, outside: Bools, price: float) -> float:
        """The least traffic of a set, with the work in it at so much of what it costs (or below 0: as it gains).

        Args:
            inside: units that it has; [units].
            outside: units that it has not; [units].
            price: of work.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_flow

        label = np.arange(self._nodes)
        label[: self.units][inside] = self._source
        label[: self.units][outside] = self._sink
        paid = np.flatnonzero(~outside) if price else np.arange(0)
        ends = np.full(len(paid), self._sink if price > 0 else self._source)
        tails, heads = (paid, ends) if price > 0 else (ends, paid)
        tails = label[np.concatenate([self._tails, tails])]
        heads = label[np.concatenate([self._heads, heads])]
        caps = np.concatenate([self._caps, abs(price) * self.work[paid]])
        used = (tails != heads) & (tails != self._sink) & (heads != self._source) & (caps > 0)
        tails, heads, caps = tails[used], heads[used], caps[used]
        straight = (tails == self._source) & (heads == self._sink)
        found = float(caps[straight].sum())
        if price < 0:
            found += price * float(self.work[~outside].sum())
        tails, heads, caps = tails[~straight], heads[~straight], caps[~straight]
        if not len(tails) or not found < math.inf:
            return found
        # Only nodes that are left, and a source before the source that holds what flows within 32 bits.
        names, places = np.unique(np.concatenate([tails, heads, [self._source, self._sink]]), return_inverse=True)
        source, sink = int(places[-2]), int(places[-1])
        tails, heads = places[: len(tails)], places[len(tails) : -2]
        whole = np.minimum(np.floor(caps * _SCALE), _MOST).astype(np.int64)
        first = len(names)
        network = csr_array(
            (np.append(whole, _MOST), (np.append(tails, first), np.append(heads, source))), shape=(first + 1, first + 1)
        )
        network.sum_duplicates()
        network.data = np.minimum(network.data, _MOST).astype(np.int32)
        flow = maximum_flow(network, first, sink).flow_value
        return found + float(flow) / _SCALE
