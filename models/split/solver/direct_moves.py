"""Local search over direct links: a move changes what every stage that reads the unit's values has to do."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from beamsplit.models.split.solver.evaluate import evaluate, stage_memory
from beamsplit.models.split.solver.problem import Balance, Problem, Worker


def improve_direct(problem: Problem, found: Balance, workers: Sequence[Worker]) -> Balance:
    """A split with the same teams whose period is at most as long; see `moves.improve`."""
    stage_of = list(found.stage_of)
    teams = [[workers[at] for at in team] for team in found.workers_of]
    speed = [math.fsum(worker.speed for worker in team) for team in teams]
    per_byte = [
        max(one.speed for one in team) / whole / min(one.bandwidth for one in team)
        for team, whole in zip(teams, speed, strict=True)
    ]
    memory = [min(worker.memory_bytes for worker in team) for team in teams]
    limited = min(memory) < math.inf
    sizes = [stage_of.count(stage) for stage in range(len(teams))]
    costs = list(found.stage_seconds)

    def moved(values: Sequence[int], sign: int, change: dict[int, float]) -> bool:
        """Add what these values cost each stage; whether they may lie so."""
        for at in values:
            value = problem.values[at]
            home = -1 if value.producer < 0 else stage_of[value.producer]
            readers = {stage_of[user] for user in value.consumers} - {home}
            if not value.may_cross and (readers - {0} if home < 0 else readers):
                return False
            if not value.may_cross and value.is_output and home != len(teams) - 1:
                return False
            for stage in readers:
                change[stage] += sign * value.nbytes * per_byte[stage]
            if home >= 0 and (readers or value.is_output):
                change[home] += sign * value.nbytes * per_byte[home]
        return True

    def attempt(unit: int, goal: int) -> dict[int, float] | None:
        """What changes with a move; None if it may not be."""
        here = stage_of[unit]
        change: dict[int, float] = defaultdict(float)
        touched = [*problem.made[unit], *problem.read[unit]]
        moved(touched, -1, change)
        stage_of[unit] = goal
        allowed = moved(touched, 1, change)
        if allowed and limited:
            held = stage_memory(problem, stage_of, len(teams))
            allowed = all(need <= most for need, most in zip(held, memory, strict=True))
        stage_of[unit] = here
        change[here] -= problem.seconds[unit] / speed[here]
        change[goal] += problem.seconds[unit] / speed[goal]
        return change if allowed else None

    def goals(unit: int, worst: int) -> Iterator[int]:
        here = stage_of[unit]
        first = max((stage_of[other] for other in problem.before[unit]), default=0)
        last = min((stage_of[other] for other in problem.after[unit]), default=len(teams) - 1)
        near = {here - 1, here + 1, worst} if here == worst else {worst}
        return (goal for goal in sorted(near) if goal != here and first <= goal <= last)

    for _ in range(len(stage_of)):
        worst = max(range(len(costs)), key=lambda stage: (costs[stage], -stage))
        close = {worst} | {stage_of[other] for unit, at in enumerate(stage_of) if at == worst
                           for other in (*problem.before[unit], *problem.after[unit])}  # fmt: skip
        best: tuple[float, int, int, dict[int, float]] | None = None
        for unit, here in enumerate(stage_of):
            if here not in close or sizes[here] == 1:
                continue
            for goal in goals(unit, worst):
                change = attempt(unit, goal)
                if change is None:
                    continue
                higher = max(costs[stage] + more for stage, more in change.items())
                if worst not in change:
                    continue
                if higher < costs[worst] * (1 - 1e-12) and (best is None or higher < best[0]):
                    best = (higher, unit, goal, change)
        if best is None:
            break
        _, unit, goal, change = best
        sizes[stage_of[unit]] -= 1
        sizes[goal] += 1
        stage_of[unit] = goal
        for stage, more in change.items():
            costs[stage] += more
    better = evaluate(problem, stage_of, found.workers_of, workers, lower_bound=found.lower_bound, method="orders")
    return better if better.period < found.period else found
