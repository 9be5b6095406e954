"""What each number of workers brings: rows a second against workers, and against the memory of each.

All are predicted from one profile. Stages are runs of the units in their order, which is quick to solve: a plan for
one number of workers may be a little better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.split.balance import CannotSplit, balance
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.plan import FrontierPoint, Plan, way_name
from beamsplit.models.split.problem import make_problem, solver_workers, unit_seconds

STAGES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of stages that are tried for each number of workers."""


def find_frontier(
    graph: SplitGraph, profile: Profile, workers: Sequence[ClusterWorker], counts: Sequence[int], total: float = 0.0
) -> tuple[FrontierPoint, ...]:
    """The ways to use the first so many of the workers, for each number: fewer workers first, then fewer stages.

    Ways that do not fit the workers' memory are left out.

    Args:
        graph: the units.
        profile: what they cost.
        workers: as many as the largest number.
        counts: numbers of workers.
        total: seconds of all units, to which those of the profile are scaled, so that ways stand beside a plan that was
            corrected by what its stages took; 0: as profiled.
    """
    seconds = unit_seconds(graph, profile)
    scale = total / sum(seconds) if total and sum(seconds) else 1.0
    problem = make_problem(graph, profile, [scale * one for one in seconds], workers[0].links)
    staff = solver_workers(workers)

    def points() -> Iterator[FrontierPoint]:
        for count in counts:
            for stages in STAGES:
                if stages > min(count, graph.most_stages):
                    continue
                try:
                    found = balance(problem, staff[:count], stages, replicate=count > stages, keep_order=True)
                except CannotSplit:
                    continue
                used = sum(map(len, found.workers_of))
                yield FrontierPoint(
                    count,
                    found.stages,
                    way_name(found.stages, used),
                    profile.rows / max(found.period, 1e-12),
                    max(found.stage_memory),
                )

    return tuple(points())


def with_plan(points: Sequence[FrontierPoint], plan: Plan, workers: int) -> tuple[FrontierPoint, ...]:
    """The ways with the plan for so many workers among them: it may be faster than stages in the units' own order."""
    like = [one for one in points if (one.workers, one.stages) == (workers, len(plan.stages))]
    nbytes = max(one.worker_bytes for one in like) if like else float(max(one.weight_bytes for one in plan.stages))
    same = next((one for one in like if one.name == plan.name), None)
    if same is not None and same.rows_per_second >= plan.rows_per_second:
        return tuple(points)
    mine = FrontierPoint(workers, len(plan.stages), plan.name, plan.rows_per_second, nbytes)
    rest = [one for one in points if one is not same]
    return tuple(sorted([*rest, mine], key=lambda one: (one.workers, one.stages)))


def fastest(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """For each number of workers the fastest way with them or fewer, of equals that of fewer workers and stages."""
    found: list[FrontierPoint] = []
    best: FrontierPoint | None = None
    for count in sorted({one.workers for one in points}):
        for one in points:
            if one.workers == count and (best is None or one.rows_per_second > best.rows_per_second * (1 + 1e-9)):
                best = one
        assert best is not None
        found.append(best)
    return tuple(found)


def leanest(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The ways with the most workers than which none is faster with as little memory, least memory first."""
    most = max((one.workers for one in points), default=0)
    found: list[FrontierPoint] = []
    for one in sorted(points, key=lambda one: (one.worker_bytes, -one.rows_per_second)):
        if one.workers == most and (not found or one.rows_per_second > found[-1].rows_per_second * (1 + 1e-9)):
            found.append(one)
    # A hundredth less memory is none.
    return tuple(one for one in found if one is found[-1] or one.worker_bytes < 0.99 * found[-1].worker_bytes)
