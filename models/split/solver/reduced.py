"""Units that cost nothing, put with a neighbour: the least period stays what it is, and there are fewer ideals.

    p --a--> u --b--> ...     u of no seconds reads p only, and what it makes is no more than what it alone reads:
                              with p, no stage has more to do
    ... --a--> u --b--> c     u of no seconds is read by c only, and what it reads is no more than what it makes:
                              with c, no stage has more to do

Both hold for either kind of links, but not where memory is limited or stages are counted: a stage may be left empty.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from beamsplit.models.split.solver.problem import Problem, Value


@dataclass(frozen=True)
class Reduced:
    """A smaller problem that has the same least period."""

    problem: Problem
    unit_of: tuple[int, ...]
    """For each unit of the one before, its unit here."""


def reduced(problem: Problem) -> Reduced:
    """The problem without the units that cost nothing where that may be."""
    unit_of = tuple(range(len(problem.seconds)))
    while True:
        goal = _merges(problem)
        if not goal:
            return Reduced(problem, unit_of)
        problem, number = _without(problem, goal)
        unit_of = tuple(number[unit] for unit in unit_of)


def _merges(problem: Problem) -> dict[int, int]:
    """The units to be put with another, none of which is another's goal."""
    goal: dict[int, int] = {}
    goals: set[int] = set()
    for unit, seconds in enumerate(problem.seconds):
        if seconds or unit in goals or len(problem.seconds) - len(goal) == 1:
            continue
        reads = [problem.values[at] for at in problem.read[unit]]
        makes = [problem.values[at] for at in problem.made[unit]]
        if not all(value.may_cross for value in (*reads, *makes)):
            continue
        found = _earlier(unit, reads, makes)
        if found is None:
            found = _later(reads, makes)
        if found is not None and found not in goal:
            goal[unit] = found
            goals.add(found)
    return goal


def _earlier(unit: int, reads: list[Value], makes: list[Value]) -> int | None:
    producers = {value.producer for value in reads}
    if len(producers) != 1 or -1 in producers:
        return None
    alone = sum(value.nbytes for value in reads if set(value.consumers) == {unit} and not value.is_output)
    return producers.pop() if sum(value.nbytes for value in makes) <= alone else None


def _later(reads: list[Value], makes: list[Value]) -> int | None:
    users = {user for value in makes for user in value.consumers}
    if len(users) != 1 or any(value.is_output for value in makes):
        return None
    return users.pop() if sum(value.nbytes for value in reads) <= sum(value.nbytes for value in makes) else None


def _without(problem: Problem, goal: dict[int, int]) -> tuple[Problem, list[int]]:
    kept = [unit for unit in range(len(problem.seconds)) if unit not in goal]
    place = {unit: at for at, unit in enumerate(kept)}
    number = [place[goal.get(unit, unit)] for unit in range(len(problem.seconds))]
    values: Counter[tuple[int, tuple[int, ...], bool, bool]] = Counter()
    for value in problem.values:
        producer = -1 if value.producer < 0 else number[value.producer]
        users = tuple(sorted({number[user] for user in value.consumers} - {producer}))
        if users or value.is_output:
            values[producer, users, value.is_output, value.may_cross] += value.nbytes  # type: ignore[assignment]
    activations = [0.0] * len(kept)
    for unit, nbytes in enumerate(problem.activation_bytes):
        activations[number[unit]] = max(activations[number[unit]], nbytes)
    smaller = replace(
        problem,
        seconds=tuple(problem.seconds[unit] for unit in kept),
        values=tuple(Value(nbytes, *key) for key, nbytes in values.items()),
        weights=tuple(
            replace(one, users=tuple(sorted({number[user] for user in one.users}))) for one in problem.weights
        ),
        activation_bytes=tuple(activations) if problem.activation_bytes else (),
    )
    return smaller, number
