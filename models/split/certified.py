"""A split with a bound where a graph's down-sets are too many: a mixed-integer program goes on from `balance`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.split.balance import Balance, Problem, Worker, balance, evaluate, is_limited
from beamsplit.models.split.solver.mixed import available, mixed_integer
from beamsplit.models.split.solver.reduced import Reduced, reduced


def certified(
    problem: Problem, workers: Sequence[Worker], stages: int | None = None, *, replicate: bool = False, seconds: float
) -> Balance:
    """The split of `balance`, or a better one, with the better bound.

    The program is for workers that are alike, each with one stage, and wants scipy; else `balance` has the last word.
    What it gives in its time may differ from machine to machine.

    Args:
        problem: the graph.
        workers: that run it.
        stages: exactly so many; None: any number up to that of the workers.
        replicate: whether a stage may run on several workers.
        seconds: that the program may take, about.

    Raises:
        CannotSplit, ValueError: as `balance` does.
    """
    best = balance(problem, workers, stages, replicate=replicate)
    alone = not replicate or stages == len(workers)
    if best.optimal or not alone or len(set(workers)) > 1 or len(workers) == 1 or not available():
        return best
    counted = stages is not None or is_limited(problem, workers)
    smaller = Reduced(problem, tuple(range(len(problem.seconds)))) if counted else reduced(problem)
    most = stages or len(workers)
    found = mixed_integer(smaller.problem, workers[0], most, best.period, seconds, exactly=stages is not None)
    if found is None:
        return best
    if found.stage_of is not None:
        lies = [found.stage_of[unit] for unit in smaller.unit_of]
        number = {stage: at for at, stage in enumerate(sorted(set(lies)))}
        teams = [[at] for at in range(len(number))]
        # What HiGHS holds for kept may be broken by a last digit.
        with contextlib.suppress(ValueError):
            other = evaluate(problem, [number[stage] for stage in lies], teams, workers, lower_bound=best.lower_bound)
            if other.fits and other.period < best.period and stages in (None, other.stages):
                best = replace(other, method="mixed integer", bound_by=best.bound_by)
    if found.bound <= best.lower_bound:
        return best
    return replace(best, lower_bound=min(found.bound, best.period), bound_by="mixed integer")
