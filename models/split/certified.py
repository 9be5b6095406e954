"""A split with a bound where a graph's down-sets are too many: a mixed-integer program goes on from `balance`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.split.balance import Balance, Problem, Worker, balance, evaluate, is_limited
from beamsplit.models.split.solver.mixed import CLOSE, Mixed, available, mixed_integer
from beamsplit.models.split.solver.reduced import Reduced, reduced
from beamsplit.models.split.solver.spine_bound import SpineBound, spine_bound
from beamsplit.models.split.solver.staffed_bound import staffed_bound


def certified(
    problem: Problem,
    workers: Sequence[Worker],
    stages: int | None = None,
    *,
    replicate: bool = False,
    seconds: float,
    enough: float = CLOSE,
) -> Balance:
    """The split of `balance`, or a better one, with the better bound.

    First a chain of the graph's units tells a bound (`spine_bound.py`), then the program goes on with what that left
    open. The program is for workers that are alike, with one stage each; both want scipy. What they give in their time
    may differ from machine to machine.

    Args:
        problem: the graph.
        workers: that run it.
        stages: exactly so many; None: any number up to that of the workers.
        replicate: whether a stage may run on several workers.
        seconds: that this may take beyond `balance`, about: of CPU along the chain, and what is left for the program.
        enough: gap that is good enough.

    Raises:
        CannotSplit, ValueError: as `balance` does.
    """
    best = balance(problem, workers, stages, replicate=replicate)
    if best.gap <= enough or len(workers) == 1 or not best.period or not available():
        return best
    if len(set(workers)) > 1:
        bound = staffed_bound(problem, workers, best.period, seconds, replicate=replicate)
        return _with_bound(best, bound, "spine")
    begun = time.thread_time()
    counted = stages is not None or is_limited(problem, workers)
    smaller = Reduced(problem, tuple(range(len(problem.seconds)))) if counted else reduced(problem)
    alone = not replicate or stages == len(workers)
    told = spine_bound(
        smaller.problem, workers[0], stages if alone and stages else len(workers), best.period, seconds / 2,
        replicate=not alone,
    )  # fmt: skip
    best = _with_bound(best, told.bound, "spine")
    if not alone or best.gap <= enough:
        return best
    most = stages or len(workers)

    def solved(narrow: SpineBound, share: float) -> Mixed | None:
        left = max(seconds - (time.thread_time() - begun), seconds / 4)
        return mixed_integer(smaller.problem, workers[0], most, narrow, share * left, exactly=stages is not None)

    def better(found: Mixed | None) -> Balance:
        if found is None or found.stage_of is None:
            return best
        return _better(problem, best, [found.stage_of[unit] for unit in smaller.unit_of], workers, stages)

    # A better split first: the less is left to be proven.
    best = better(solved(told.near_best(), 0.3))
    if best.gap <= enough:
        return best
    found = solved(told.below(best.period), 1.0)
    best = better(found)
    return best if found is None else _with_bound(best, found.bound, "mixed integer")


def _with_bound(best: Balance, bound: float, method: str) -> Balance:
    if bound <= best.lower_bound:
        return best
    return replace(best, lower_bound=min(bound, best.period), bound_by=method)


def _better(
    problem: Problem, best: Balance, lies: Sequence[int], workers: Sequence[Worker], stages: int | None
) -> Balance:
    """The program's split, if it is better."""
    number = {stage: at for at, stage in enumerate(sorted(set(lies)))}
    teams = [[at] for at in range(len(number))]
    # What HiGHS holds for kept may be broken by a last digit.
    with contextlib.suppress(ValueError):
        other = evaluate(problem, [number[stage] for stage in lies], teams, workers, lower_bound=best.lower_bound)
        if other.fits and other.period < best.period and stages in (None, other.stages):
            return replace(other, method="mixed integer", bound_by=best.bound_by)
    return best
