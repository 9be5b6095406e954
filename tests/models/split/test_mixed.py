from __future__ import annotations

import math
import random

import pytest

pytest.importorskip("scipy")

import beamsplit.models.split.balance as solver
from beamsplit.models.split.balance import CannotSplit, Problem, Value, Worker, balance
from beamsplit.models.split.certified import certified
from beamsplit.models.split.solver.mixed import mixed_integer
from beamsplit.models.split.solver.spine_bound import SpineBound
from tests.models.split.small_problem import small
from tests.models.split.whole_program import can_be

INF = math.inf


@pytest.mark.parametrize("seed", range(16))
def test_it_is_the_best_there_is(seed):
    draw = random.Random(seed)
    problem, stages = small(draw), draw.randint(2, 4)
    worker = Worker(draw.choice([1, 2]), draw.choice([INF, 8.0]), draw.choice([1.0, 2.0, INF]))
    exactly = draw.random() < 0.5
    try:
        best = balance(problem, [worker] * stages, stages if exactly else None).period
    except CannotSplit:
        return
    told = SpineBound.of_known(problem, stages, best * draw.choice([1.0, 1.3]) or 1.0)
    found = mixed_integer(problem, worker, stages, told, 60, exactly=exactly)
    assert best * (1 - 1e-3) <= found.bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(16))
def test_a_program_of_the_whole_problem_gives_the_same(seed):
    draw = random.Random(100 + seed)
    problem, replicate = small(draw, 0.9), draw.random() < 0.5
    workers = [
        Worker(draw.choice([1.0, 2.0, 0.5]), draw.choice([INF, INF, 9.0]), draw.choice([1.0, 2.0, 7.0]))
        for _ in range(draw.randint(1, 3))
    ]
    try:
        period = balance(problem, workers, replicate=replicate).period
    except CannotSplit:
        period = INF
    stages = range(1, len(workers) + 1)
    assert not any(can_be(problem, workers, one, replicate, min(period * 0.999, 1e2) - 1e-3) for one in stages)
    if period < INF:
        assert any(can_be(problem, workers, one, replicate, period * 1.001 + 1e-3) for one in stages)


def attention(layers, heads, draw, links):
    """Layers of heads that stand side by side: their down-sets are too many to be looked at."""
    seconds, users = [1.0], {}

    def unit(reads, cost):
        seconds.append(cost)
        for read in reads:
            users.setdefault(read, []).append(len(seconds) - 1)
        return len(seconds) - 1

    now = 0
    for _ in range(layers):
        ends = []
        for _ in range(heads):
            query, key, value = (unit([now], draw.random()) for _ in range(3))
            ends.append(unit([unit([query, key], draw.random()), value], draw.random()))
        joined = unit(ends, 1.0)
        now = unit([joined, now], 2.0)
    values = [Value(draw.random() * (3 if len(read) > 1 else 1), made, tuple(read)) for made, read in users.items()]
    return Problem(tuple(seconds), tuple(values), links=links)


@pytest.mark.parametrize("links", ["chain", "direct"])
def test_graphs_of_too_many_down_sets_are_certified(links, monkeypatch):
    for name in [name for name in vars(solver) if name.startswith("MOST_IDEALS")]:
        monkeypatch.setattr(solver, name, 50)
    problem = attention(5, 3, random.Random(4), links)
    workers = [Worker(bandwidth=1.0)] * 4
    without = balance(problem, workers)
    assert (without.bound_by, without.gap > 0.02) == ("work", True)
    found = certified(problem, workers, seconds=60.0)
    assert (found.bound_by, found.links, found.optimal or found.gap < 0.001) == ("mixed integer", links, True)
    assert without.lower_bound < found.lower_bound <= found.period <= without.period
    monkeypatch.setattr("beamsplit.models.split.certified.available", lambda: False)
    assert certified(problem, workers, seconds=60.0) == without
