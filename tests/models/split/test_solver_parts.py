"""Parts of the solver that `balance` as a whole is right without: it would refuse, or take longer."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from beamsplit.models.split.balance import CannotSplit, Problem, Value, Weight, Worker, _bound, balance, evaluate
from beamsplit.models.split.solver.chain import Chain
from beamsplit.models.split.solver.moves import improve


def chain_of(seconds: list[float], crossing: float = 0.0, **more: object) -> Problem:
    values = tuple(Value(crossing, unit, (unit + 1,)) for unit in range(len(seconds) - 1))
    return Problem(tuple(seconds), values, **more)  # type: ignore[arg-type]


# The window of units that fit


def test_activations_that_left_the_window_are_let_go():
    """Units 1 and 2 hold 3 bytes each, which fit; with unit 0's activations beside them they would not."""
    problem = chain_of([1.0] * 3, weights=(Weight(3, (1,)), Weight(3, (2,))), activation_bytes=(5, 0, 0))
    assert balance(problem, [Worker(memory_bytes=5)] * 3).stage_of == (0, 1, 2)
    assert Chain(problem).window(5).tolist() == [0, 0, 1, 2]
    with pytest.raises(CannotSplit):
        balance(problem, [Worker(memory_bytes=4.5)] * 3)


@pytest.mark.parametrize("seed", range(20))
def test_the_window_is_that_of_all_pairs(seed: int):
    rng = random.Random(seed)
    units = 7
    weights = tuple(Weight(rng.randrange(5), tuple(rng.sample(range(units), rng.randrange(1, 4)))) for _ in range(6))
    activations = [float(rng.choice([0, 0, 1, 4, 6])) for _ in range(units)]
    problem = chain_of([1.0] * units, weights=weights, activation_bytes=tuple(activations))
    for memory in (0.0, 3.0, 6.0, 9.0, 30.0):
        fits = [
            next(
                begin
                for begin in range(end + 1)
                if begin == end
                or sum(w.nbytes for w in weights if set(w.users) & set(range(begin, end))) + max(activations[begin:end])
                <= memory
            )
            for end in range(units + 1)
        ]
        assert Chain(problem).window(memory).tolist() == fits


# Bounds, each as tight as can be


@pytest.mark.parametrize(
    ("seconds", "speeds", "stages", "replicate", "least"),
    [
        ([1, 1, 1, 1], [1, 1], None, False, 2),  # all work over all speed
        ([1, 1, 1, 1], [3, 1], None, False, 1),
        ([2, 2], [1, 1, 1], 1, False, 4),  # over the speed of as many workers as stages
        ([2, 2, 2], [1, 2, 2], 2, False, 2),  # and the fastest of them
        ([5, 1], [1, 1], None, False, 5),  # the heaviest unit, on the fastest worker
        ([6, 1], [1, 3], None, False, 2),
        ([6], [1, 1, 1], None, True, 2),  # on all workers
        ([6, 1], [1, 1, 1], 2, True, 3),  # on all but those of the other stages
        ([6, 1, 1], [1, 2, 3], 3, True, 2),
        ([3, 3, 3], [1, 1], None, False, 6),  # of 3 on 2 workers, some worker has 2
        ([4, 3, 2, 1], [1, 1, 1], None, False, 4),
        ([3, 2.5, 2.5, 0.5], [1, 1], None, False, 5),  # the lightest 2 of the 3 heaviest
        ([2, 2, 2, 2, 2], [1, 1], None, False, 6),  # of 5 on 2 workers, some worker has 3
        ([3, 3, 3], [2, 2], None, False, 3),
    ],
)
def test_the_bound_is_as_tight_as_can_be(
    seconds: list[float], speeds: list[float], stages: int | None, replicate: bool, least: float
):
    workers = [Worker(speed) for speed in speeds]
    bound = _bound(chain_of(seconds), workers, stages, replicate)
    assert bound <= least
    assert bound == pytest.approx(least, rel=1e-9)
    assert balance(chain_of(seconds), workers, stages, replicate=replicate).period >= bound


# Single units moved


def graph_of(rng: random.Random, units: int) -> Problem:
    values = [
        Value(
            rng.choice([0.0, 1.0, 3.0]),
            unit,
            tuple(sorted(rng.sample(range(unit + 1, units), min(rng.randrange(1, 3), units - unit - 1)))),
            is_output=rng.random() < 0.2,
            may_cross=rng.random() < 0.9,
        )
        for unit in range(-1, units - 1)
    ]
    weights = tuple(Weight(rng.randrange(1, 4), (unit,)) for unit in range(units))
    return Problem(tuple(float(rng.randrange(1, 9)) for _ in range(units)), (*values, Value(1.0, units - 1)), weights)


def costs_of(problem: Problem, stage_of: tuple[int, ...], workers: list[Worker]) -> list[float] | None:
    """Seconds of each stage; None where the split may not be, or does not fit."""
    teams = [[at] for at in range(len(workers))]
    try:
        found = evaluate(problem, stage_of, teams, workers)
    except ValueError:
        return None
    fits = all(held <= worker.memory_bytes for held, worker in zip(found.stage_memory, workers, strict=True))
    return list(found.stage_seconds) if fits else None


@pytest.mark.parametrize("seed", range(60))
def test_no_single_move_is_left_that_helps_the_busiest_stage(seed: int):
    rng = random.Random(seed)
    units, stages = rng.randrange(4, 9), rng.randrange(2, 4)
    problem = graph_of(rng, units)
    memory = rng.choice([math.inf, 14.0])
    workers = [Worker(rng.choice([1.0, 2.0]), memory, rng.choice([math.inf, 2.0])) for _ in range(stages)]
    splits = [
        split
        for split in itertools.combinations_with_replacement(range(stages), units)
        if set(split) == set(range(stages)) and costs_of(problem, split, workers) is not None
    ]
    if not splits:
        return
    start = rng.choice(splits)
    given = evaluate(problem, start, [[at] for at in range(stages)], workers)
    found = improve(problem, given, workers)
    costs = costs_of(problem, found.stage_of, workers)
    assert costs is not None and found.period == pytest.approx(max(costs)) and found.period <= given.period
    worst = max(range(stages), key=lambda stage: (costs[stage], -stage))
    for unit, here in enumerate(found.stage_of):
        for goal in (here - 1, here + 1):
            if not 0 <= goal < stages or worst not in (here, goal) or found.stage_of.count(here) == 1:
                continue
            moved = (*found.stage_of[:unit], goal, *found.stage_of[unit + 1 :])
            after = costs_of(problem, moved, workers)
            if after is not None:
                assert max(after[here], after[goal]) >= costs[worst] * (1 - 1e-9)


def test_moves_follow_one_another_to_the_best():
    """All units begin in the first stage but one: as many moves as it takes, and bytes are kept count of."""
    problem = chain_of([1.0] * 6, 0.25)
    workers = [Worker(bandwidth=1.0)] * 2
    given = evaluate(problem, (0, 0, 0, 0, 0, 1), [[0], [1]], workers)
    assert given.period == 5.25
    found = improve(problem, given, workers)
    assert (found.stage_of, found.period) == ((0, 0, 0, 1, 1, 1), 3.25)
    assert improve(problem, found, workers) is found


def split_of(problem: Problem, stage_of: tuple[int, ...], workers: list[Worker]) -> tuple[tuple[int, ...], float]:
    """What single moves make of a split."""
    found = improve(problem, evaluate(problem, stage_of, [[at] for at in range(len(workers))], workers), workers)
    return found.stage_of, found.period


def test_a_stage_keeps_its_last_unit():
    """The slow worker would rather have none."""
    workers = [Worker(0.1), Worker(10.0)]
    assert split_of(chain_of([1.0] * 3), (0, 0, 1), workers) == ((0, 1, 1), 10.0)


def test_a_stage_gives_on_what_it_got():
    """5 5 | 1 | 1 -> 5 | 5 1 | 1 -> 5 | 5 | 1 1"""
    assert split_of(chain_of([5.0, 5.0, 1.0, 1.0]), (0, 0, 1, 2), [Worker()] * 3) == ((0, 1, 2, 2), 5.0)


def test_the_best_of_several_moves_is_made():
    """1 2 | 3 4 | 1 -> 1 2 | 3 | 4 1; to move the 3 leaves 1 2 3 in one stage."""
    assert split_of(chain_of([1.0, 2.0, 3.0, 4.0, 1.0]), (0, 0, 1, 1, 2), [Worker()] * 3) == ((0, 0, 1, 2, 2), 5.0)


def test_a_unit_joins_the_busiest_stage_where_that_saves_bytes():
    values = (Value(10.0, 0, (1,)), Value(0.5, 1, (2,)))
    assert split_of(Problem((5.0, 1.0, 1.0), values), (0, 1, 1), [Worker(bandwidth=1.0)] * 2) == ((0, 0, 1), 6.5)


def test_what_does_not_fit_is_not_moved():
    problem = chain_of([1.0] * 4, weights=tuple(Weight(2, (unit,)) for unit in range(4)))
    roomy, tight = Worker(), Worker(memory_bytes=3)
    assert split_of(problem, (0, 0, 0, 1), [roomy, tight]) == ((0, 0, 0, 1), 3.0)
    assert split_of(problem, (0, 1, 1, 1), [tight, roomy]) == ((0, 1, 1, 1), 3.0)
    assert split_of(problem, (0, 0, 0, 1), [roomy, Worker(memory_bytes=4)]) == ((0, 0, 1, 1), 2.0)
