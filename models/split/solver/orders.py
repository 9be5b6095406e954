"""Topological orders of a graph that make good chains."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from beamsplit.models.split.solver.problem import Problem

Choose = Callable[[list[int]], int]


def orders(problem: Problem, seeds: int) -> Iterator[list[int]]:
    """Orders to try: as given, depth first, breadth first, few live bytes, then random ones; the same each time."""
    yield list(range(len(problem.seconds)))
    yield _order(problem, lambda ready: len(ready) - 1)
    yield _order(problem, lambda ready: 0)
    yield least_live(problem)
    for seed in range(seeds):
        draw = random.Random(seed)
        yield _order(problem, lambda ready, draw=draw: int(draw.random() * len(ready)))  # type: ignore[misc]


def least_live(problem: Problem) -> list[int]:
    """Next is always the ready unit after which the fewest bytes are alive."""
    left = [len(set(value.consumers)) + value.is_output for value in problem.values]

    def growth(unit: int) -> float:
        made = sum(problem.values[at].nbytes for at in problem.made[unit])
        return made - sum(problem.values[at].nbytes for at in problem.read[unit] if left[at] == 1)

    def choose(ready: list[int]) -> int:
        # The newest of equals, as in depth first; a window keeps wide graphs linear.
        window = range(max(0, len(ready) - 32), len(ready))
        at = min(window, key=lambda place: (growth(ready[place]), -place))
        for value in problem.read[ready[at]]:
            left[value] -= 1
        return at

    return _order(problem, choose)


def staged(order: list[int], stage_of: tuple[int, ...]) -> list[int]:
    """The order, stage by stage."""
    return sorted(order, key=lambda unit: stage_of[unit])


def _order(problem: Problem, choose: Choose) -> list[int]:
    missing = [len(units) for units in problem.before]
    ready = [unit for unit, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        unit = ready.pop(choose(ready))
        order.append(unit)
        for later in problem.after[unit]:
            missing[later] -= 1
            if missing[later] == 0:
                ready.append(later)
    return order
