"""Local search: move single units between neighbouring stages while the busiest one gets less to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from beamsplit.models.split.solver.direct_moves import improve_direct
from beamsplit.models.split.solver.evaluate import evaluate, stage_memory
from beamsplit.models.split.solver.problem import DIRECT, Balance, Problem, Worker


def improve(problem: Problem, found: Balance, workers: Sequence[Worker]) -> Balance:
    """A split with the same teams whose period is at most as long. Values stay uncut where they may not cross."""
    if problem.links == DIRECT:
        return improve_direct(problem, found, workers)
    stage_of = list(found.stage_of)
    teams = [[workers[at] for at in team] for team in found.workers_of]
    speed = [math.fsum(worker.speed for worker in team) for team in teams]
    top = [max(worker.speed for worker in team) for team in teams]
    memory = [min(worker.memory_bytes for worker in team) for team in teams]
    slow = [min(worker.bandwidth for worker in team) for team in teams]
    ends = [math.inf, *slow, math.inf]
    link = [1.0 / min(ends[at], ends[at + 1]) for at in range(len(ends) - 1)]
    compute = [part * whole for part, whole in zip(found.stage_compute, speed, strict=True)]
    crossing = [*found.bytes_in, found.bytes_out[-1]]
    sizes = [stage_of.count(stage) for stage in range(len(teams))]

    def cost(stage: int, work: float, enters: float, leaves: float) -> float:
        transfer = enters * link[stage] + leaves * link[stage + 1]
        return work / speed[stage] + top[stage] / speed[stage] * transfer

    costs = [cost(s, compute[s], crossing[s], crossing[s + 1]) for s in range(len(teams))]

    def parted(value: int, boundary: int) -> float:
        one = problem.values[value]
        made = one.producer < 0 or stage_of[one.producer] < boundary
        if not made or not (one.is_output or any(stage_of[user] >= boundary for user in one.consumers)):
            return 0.0
        return one.nbytes if one.may_cross else math.inf

    def attempt(unit: int, goal: int) -> tuple[float, float, float] | None:
        """Bytes over the boundary between and both costs after a move; None if it may not be."""
        here = stage_of[unit]
        others = problem.after[unit] if goal > here else problem.before[unit]
        if sizes[here] == 1 or any(stage_of[other] == here for other in others):
            return None
        boundary = max(here, goal)
        touched = [*problem.made[unit], *problem.read[unit]]
        change = -sum(parted(value, boundary) for value in touched)
        stage_of[unit] = goal
        change += sum(parted(value, boundary) for value in touched)
        stage_of[unit] = here
        nbytes = crossing[boundary] + change
        if not nbytes < math.inf:
            return None
        costs_now = []
        for stage, sign in ((here, -1), (goal, 1)):
            enters = nbytes if stage == boundary else crossing[stage]
            leaves = nbytes if stage + 1 == boundary else crossing[stage + 1]
            costs_now.append(cost(stage, compute[stage] + sign * problem.seconds[unit], enters, leaves))
        return nbytes, costs_now[0], costs_now[1]

    for _ in range(len(stage_of)):
        worst = max(range(len(costs)), key=lambda stage: (costs[stage], -stage))
        best: tuple[float, int, int, tuple[float, float, float]] | None = None
        for unit, here in enumerate(stage_of):
            if here == worst:
                goals = [goal for goal in (worst - 1, worst + 1) if 0 <= goal < len(teams)]
            else:
                goals = [worst] if abs(here - worst) == 1 else []
            for goal in goals:
                after = attempt(unit, goal)
                if after is None:
                    continue
                higher = max(after[1], after[2])
                if higher < costs[worst] * (1 - 1e-12) and (best is None or higher < best[0]):
                    if memory[goal] < math.inf:
                        stage_of[unit] = goal
                        held = stage_memory(problem, stage_of, len(teams))[goal]
                        stage_of[unit] = here
                        if held > memory[goal]:
                            continue
                    best = (higher, unit, goal, after)
        if best is None:
            break
        _, unit, goal, (nbytes, left, joined) = best
        here = stage_of[unit]
        stage_of[unit] = goal
        crossing[max(here, goal)] = nbytes
        compute[here] -= problem.seconds[unit]
        compute[goal] += problem.seconds[unit]
        sizes[here] -= 1
        sizes[goal] += 1
        costs[here], costs[goal] = left, joined
    moved = evaluate(problem, stage_of, found.workers_of, workers, lower_bound=found.lower_bound, method="orders")
    return moved if moved.period < found.period else found
