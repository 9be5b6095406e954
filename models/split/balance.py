"""The balance solver: cut a graph of units into a chain of stages so that the busiest stage has least to do.

Numbers in, numbers out. `evaluate` states the model of cost. Chains are solved exactly, graphs exactly while they have
few down-sets, else by the best of exact solutions over several orders, with a proven bound on what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from beamsplit.models.split.solver.chain import Chain
from beamsplit.models.split.solver.crowd import Crowd, CrowdSolver, DirectCrowdSolver, crowd
from beamsplit.models.split.solver.evaluate import equal_count, equal_weight_bytes, evaluate
from beamsplit.models.split.solver.ideals import Ideals, ideals
from beamsplit.models.split.solver.moves import improve
from beamsplit.models.split.solver.orders import orders, staged
from beamsplit.models.split.solver.pairs import PairSolver
from beamsplit.models.split.solver.period import ANY_PERIOD, Solution, Solver
from beamsplit.models.split.solver.problem import (
    DIRECT,
    Balance,
    CannotSplit,
    Problem,
    Value,
    Weight,
    Worker,
    check_workers,
)
from beamsplit.models.split.solver.reduced import reduced
from beamsplit.models.split.solver.staffing import Staffing, any_order, in_order

__all__ = [
    "Balance",
    "CannotSplit",
    "Problem",
    "Value",
    "Weight",
    "Worker",
    "balance",
    "equal_count",
    "equal_weight_bytes",
    "evaluate",
]

MOST_NUMBERS = 20_000_000
"""Table entries of one test of a period, beyond which unlike workers are tried in a few orders only."""

MOST_MOVES = 4_000
"""Ways to give workers to stages, beyond which unlike workers are tried in a few orders only, and are counted."""

FEW_ORDERS_TOLERANCE = 1e-6
"""Share of the period to which it is sought where workers are tried in a few orders, and so not the best of all."""

MOST_CALLS = 300_000
"""The same over direct links, where pairs of places are compared: ways times places."""

MOST_IDEALS = 40_000
"""Down-sets of a graph beyond which it is not solved exactly; fewer where there are more than a few ways to staff."""

MOST_IDEALS_OF_LEVELS = 3_000
"""The same through a chain of workers of unlike bandwidth."""

MOST_IDEALS_WITH_MEMORY = 3_000
"""The same where a worker's memory is limited: what a stage holds is then looked at for pairs of down-sets."""

MOST_IDEALS_OF_LEVELS_WITH_MEMORY = 500
"""Where both is so."""

RANDOM_ORDERS = 4
"""Of a graph's units that are tried. Counted, not timed: the same on every machine."""

MOST_MOVED = 8
"""Times that the best split is improved by moving units and cut anew."""


def balance(
    problem: Problem,
    workers: Sequence[Worker],
    stages: int | None = None,
    *,
    replicate: bool = False,
    fixed_order: bool = False,
    keep_order: bool = False,
) -> Balance:
    """The split with the least period (exact where `Balance.optimal` says so).

    Args:
        stages: exactly so many; None: any number up to the number of workers. Workers may be left out.
        replicate: whether a stage may run on several workers.
        fixed_order: a later stage never runs on an earlier worker. Else the best order is sought, exactly while
            classes of equal workers are few (MOST_MOVES, MOST_NUMBERS), else in a few orders.
        keep_order: stages are runs of the units in the order given, as in a chain; always exact but for unlike
            workers beyond the limits. Else any split along the graph's edges.

    Raises:
        CannotSplit: no split exists, or none was found; says how many stages or how much memory there could be.
        ValueError: stages or a worker out of range.
    """
    check_workers(workers)
    if stages is not None and stages < 1:
        raise ValueError(f"stages must be at least 1, got stages={stages}")
    if stages is not None and stages > len(workers):
        raise CannotSplit(
            f"{stages} stages are wanted, but there are only {len(workers)} workers: ask for at most {len(workers)}",
            most_stages=len(workers),
        )
    low = _bound(problem, workers, stages, replicate)
    if stages is None and not keep_order and not is_limited(problem, workers):
        smaller = reduced(problem)
        if len(smaller.problem.seconds) < len(problem.seconds):
            found = balance(smaller.problem, workers, replicate=replicate, fixed_order=fixed_order)
            stage_of = [found.stage_of[unit] for unit in smaller.unit_of]
            low, method = found.lower_bound, found.method
            return evaluate(problem, stage_of, found.workers_of, workers, lower_bound=low, method=method)
    given = Chain(problem)
    alone = keep_order or all(unit in problem.before[unit + 1] for unit in range(len(problem.seconds) - 1))
    staffing = None if fixed_order else _exact_staffing(problem, workers, stages, replicate)
    if fixed_order:
        staffing = _in_order(workers, range(len(workers)), replicate, stages)
    staffings = [staffing] if staffing else _few_orders(workers, replicate, stages)
    every = staffing is not None and (isinstance(staffing, Staffing) or staffing.exact)
    if alone:
        along, used, bound = _best(given, staffings, stages, low)
        if along is None:
            raise _cannot(problem, workers, stages, [given], proven=every)
        return evaluate(
            problem,
            given.stage_of(along.places),
            used.name(along.teams),
            workers,
            lower_bound=bound if every else low,
            method="chain" if every else "orders",
        )
    return _Orders(problem, workers, stages, tuple(staffings), low).best(every)


def is_limited(problem: Problem, workers: Sequence[Worker]) -> bool:
    """Whether some worker does not hold everything."""
    return min(worker.memory_bytes for worker in workers) < Chain(problem).whole_bytes


@dataclass(frozen=True)
class _Orders:
    """The search for a graph's best split among those along orders of its units."""

    problem: Problem
    workers: Sequence[Worker]
    stages: int | None
    staffings: tuple[Staffing | Crowd, ...]

    low: float
    """Seconds below which no split can be."""

    def best(self, every: bool) -> Balance:
        """The best split found; with `every`, where the staffings are all that there are, the best of all if it can be.

        Raises:
            CannotSplit: there is none, or none was found.
        """
        best: Balance | None = None
        tried = []
        best_order: list[int] = []
        for order in orders(self.problem, RANDOM_ORDERS):
            chain = Chain(self.problem, order)
            tried.append(chain)
            better = self._along(chain, best)
            if better:
                best, best_order = better, order
        for _ in range(MOST_MOVED):
            if best is None or best.optimal:
                break
            moved = improve(self.problem, best, self.workers)
            best_order = staged(best_order, moved.stage_of)
            again = self._along(Chain(self.problem, best_order), moved)
            if not again and moved.period >= best.period * (1 - 1e-9):
                break
            best = again or moved
        if best is not None and best.optimal:
            return best
        lattice = ideals(self.problem, self._most_ideals) if every else None
        if lattice is None:
            if best is None:
                raise _cannot(self.problem, self.workers, self.stages, tried, proven=False)
            return best
        return self._exact(lattice, best, tried)

    def _exact(self, lattice: Ideals, best: Balance | None, tried: list[Chain]) -> Balance:
        """The best of all."""
        staffing = self.staffings[0]
        if isinstance(staffing, Staffing) and self._of_pairs:
            # Only what is better is looked for.
            pairs = PairSolver(lattice, staffing, self.stages)
            found = pairs.within(best.period * (1 - 1e-9) if best else ANY_PERIOD)
            if found is None and best is not None:
                return replace(best, lower_bound=best.period, method="ideals", bound_by="ideals")
            bound = math.inf if found is None else found.period
        else:
            found, bound = _solver(lattice, staffing, self.stages, self.problem).least(self.low)
        if found is None:
            raise _cannot(self.problem, self.workers, self.stages, tried, proven=True)
        stage_of, teams = lattice.stage_of(found.places), staffing.name(found.teams)
        return evaluate(self.problem, stage_of, teams, self.workers, lower_bound=bound, method="ideals")

    @property
    def _of_pairs(self) -> bool:
        """Whether pairs of places say what a stage costs: bandwidths do not meet at a link, or are all one."""
        return self.problem.links == DIRECT or len({worker.bandwidth for worker in self.workers}) == 1

    @property
    def _most_ideals(self) -> int:
        limited = is_limited(self.problem, self.workers)
        staffing = self.staffings[0]
        if not self._of_pairs or isinstance(staffing, Crowd):
            return MOST_IDEALS_OF_LEVELS_WITH_MEMORY if limited else MOST_IDEALS_OF_LEVELS
        most = MOST_IDEALS_WITH_MEMORY if limited else MOST_IDEALS
        return min(most, max(MOST_IDEALS_OF_LEVELS_WITH_MEMORY, 2_000_000 // staffing.size(self.stages)))

    def _along(self, chain: Chain, best: Balance | None) -> Balance | None:
        """The best split along one order if it is better than the best so far."""
        improved: Balance | None = None
        for staffing in self.staffings:
            solver = _solver(chain, staffing, self.stages, self.problem)
            found = solver.within(best.period * (1 - 1e-9) if best else ANY_PERIOD)
            if found is not None:
                found, _ = solver.least(self.low, found, 1e-12)
                assert found is not None
                stage_of, teams = chain.stage_of(found.places), staffing.name(found.teams)
                best = evaluate(self.problem, stage_of, teams, self.workers, lower_bound=self.low, method="orders")
                improved = best
        return improved


def _best(
    chain: Chain, staffings: Sequence[Staffing | Crowd], stages: int | None, low: float
) -> tuple[Solution | None, Staffing | Crowd, float]:
    best, used, bound = None, staffings[0], math.inf
    for staffing in staffings:
        solver = _solver(chain, staffing, stages, chain.problem)
        if best is None:
            best, bound = solver.least(low, tolerance=0.0 if len(staffings) == 1 else FEW_ORDERS_TOLERANCE)
            used = staffing
            continue
        better = solver.within(best.period * (1 - FEW_ORDERS_TOLERANCE))
        if better is not None:
            best, _ = solver.least(low, better, FEW_ORDERS_TOLERANCE)
            used = staffing
    return best, used, bound


class _Solves(Protocol):
    """What `Search` and `PairSolver` have in common."""

    def within(self, period: float) -> Solution | None:
        """A split whose period is at most this many seconds, or None: there is none."""

    def least(
        self, low: float = 0.0, known: Solution | None = None, tolerance: float = 0.0
    ) -> tuple[Solution | None, float]:
        """The split with the least period, and the bound that was proven on the way."""


def _solver(cuts: Chain | Ideals, staffing: Staffing | Crowd, stages: int | None, problem: Problem) -> _Solves:
    if isinstance(staffing, Crowd):
        return (DirectCrowdSolver if problem.links == DIRECT else CrowdSolver)(cuts, staffing, stages)
    return PairSolver(cuts, staffing, stages) if problem.links == DIRECT else Solver(cuts, staffing, stages)


def _exact_staffing(
    problem: Problem, workers: Sequence[Worker], stages: int | None, replicate: bool
) -> Staffing | Crowd | None:
    staffing = any_order(workers, replicate, MOST_MOVES)
    if staffing and _few(problem, staffing, stages):
        return staffing
    # Of workers that are alike, every order is the same.
    alike = replicate and len(set(workers)) == 1
    return crowd(workers, range(len(workers))) if alike else None


def _few(problem: Problem, staffing: Staffing, stages: int | None) -> bool:
    places = len(problem.seconds) + 1
    if problem.links == DIRECT:
        return len(staffing.moves) * (stages or 1) * places <= MOST_CALLS
    return staffing.size(stages) * places <= MOST_NUMBERS


def _few_orders(workers: Sequence[Worker], replicate: bool, stages: int | None) -> list[Staffing | Crowd]:
    count = range(len(workers))
    fast = sorted(count, key=lambda at: (-workers[at].speed, -workers[at].memory_bytes, -workers[at].bandwidth, at))
    large = sorted(count, key=lambda at: (-workers[at].memory_bytes, -workers[at].speed, -workers[at].bandwidth, at))
    tried = dict.fromkeys(tuple(order) for order in (fast, fast[::-1], large, count))
    found = [_in_order(workers, order, replicate, stages) for order in tried]
    # Where alike workers do not stand together, too many of them would count as the weakest.
    return [one for one in found if isinstance(one, Staffing) or one.exact] or found[:1]


def _in_order(workers: Sequence[Worker], order: Sequence[int], replicate: bool, stages: int | None) -> Staffing | Crowd:
    if replicate and len(workers) * (len(workers) + 1) // 2 > MOST_MOVES:
        return crowd(workers, order)
    return in_order(workers, order, replicate, stages)


def _bound(problem: Problem, workers: Sequence[Worker], stages: int | None, replicate: bool) -> float:
    """Seconds below which no split can be, whatever the graph: all work over all speed, and the heaviest units."""
    speeds = sorted((worker.speed for worker in workers), reverse=True)
    most = len(speeds) if replicate or stages is None else stages
    team = 1 if not replicate else len(speeds) - (stages or 1) + 1
    bounds = [math.fsum(problem.seconds) / math.fsum(speeds[:most]), max(problem.seconds) / math.fsum(speeds[:team])]
    if not replicate:
        heavy = sorted(problem.seconds, reverse=True)
        # Of the q * most + 1 heaviest units, some stage has q + 1, at least the lightest of them.
        for q in range(1, (len(heavy) - 1) // most + 1):
            last = q * most + 1
            bounds.append(math.fsum(heavy[last - q - 1 : last]) / speeds[0])
    # Sums of floats may err upwards by their last digits.
    return max(bounds) * (1 - 1e-12)


def _cannot(
    problem: Problem, workers: Sequence[Worker], stages: int | None, chains: list[Chain], proven: bool
) -> CannotSplit:
    known = "no split exists" if proven else "no split was found"
    wanted = f"{stages} stages" if stages else f"up to {len(workers)} stages"
    count = max(int(chain.allowed.sum()) - 1 for chain in chains)
    if stages and stages > count:
        return CannotSplit(
            f"{wanted} are wanted; {known}: {len(problem.seconds)} units can be cut into at most {count} stages "
            f"{'where values may cross' if len(chains) == 1 else 'in the orders tried'}: ask for at most {count}",
            most_stages=count,
        )
    needs = min(_least_memory(chain, len(workers), stages) for chain in chains)
    largest = max(worker.memory_bytes for worker in workers)
    return CannotSplit(
        f"{wanted} are wanted; {known} that fits the workers' memory (largest: {largest:.0f} bytes): "
        f"with {needs:.0f} bytes in each of {len(workers)} workers there is one",
        smallest_memory_bytes=needs,
    )


def _least_memory(chain: Chain, workers: int, stages: int | None) -> float:
    """Bytes in each of so many workers with which the chain can be cut."""
    problem = chain.problem
    low, high = 0.0, chain.whole_bytes

    def fits(memory_bytes: float) -> Solution | None:
        # As many workers as stages: none is left out, so the stages need not be counted.
        like = [Worker(memory_bytes=memory_bytes)] * (stages or min(workers, len(chain.starts) - 1))
        return Solver(chain, in_order(like, range(len(like)), False, stages), stages).within(ANY_PERIOD)

    for _ in range(60):
        middle = (low + high) / 2
        found = fits(middle)
        if found is None:
            low = middle
        else:
            like = [Worker()] * len(found.teams)
            numbers = evaluate(problem, chain.stage_of(found.places), [[at] for at in range(len(like))], like)
            high = max(numbers.stage_memory)
        if high - low <= 1e-12 * high:
            break
    return float(np.ceil(high)) if high > 2**20 else high
