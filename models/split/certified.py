"""A split with a bound where a graph's down-sets are too many: a mixed-integer program goes on from `balance`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.split.balance import Balance, Problem, Worker, balance, evaluate, is_limited
from beamsplit.models.split.solver.mixed import CLOSE, available, mixed_integer
from beamsplit.models.split.solver.reduced import Reduced, reduced
from beamsplit.models.split.solver.spine_bound import spine_bound


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
    open. Both are for workers that are alike, the program for those with one stage each, and want scipy; else
    `balance` has the last word. What they give in their time may differ from machine to machine.

    Args:
        problem: the graph.
        workers: that run it.
        stages: exactly so many; None: any number up to that of the workers.
        replicate: whether a stage may run on several workers.
        seconds: that this may take beyond `balance`, about.
        enough: gap that is good enough.

    Raises:
        CannotSplit, ValueError: as `balance` does.
    """
    best = balance(problem, workers, stages, replicate=replicate)
    if best.gap <= enough or len(set(workers)) > 1 or len(workers) == 1 or not best.period or not available():
        return best
    until = time.perf_counter() + seconds
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
    left = max(until - time.perf_counter(), seconds / 4)
    found = mixed_integer(smaller.problem, workers[0], most, told, left, exactly=stages is not None)
    if found is None:
        return best
    if found.stage_of is not None:
        best = _better(problem, best, [found.stage_of[unit] for unit in smaller.unit_of], workers, stages)
    return _with_bound(best, found.bound, "mixed integer")


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
