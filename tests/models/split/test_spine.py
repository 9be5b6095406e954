from __future__ import annotations

import math
import random

import numpy as np
import pytest

pytest.importorskip("scipy")

from beamsplit.models.split.balance import CannotSplit, Problem, Value, Weight, Worker, balance
from beamsplit.models.split.solver.least_traffic import LeastTraffic
from beamsplit.models.split.solver.spine import spine
from beamsplit.models.split.solver.spine_bound import spine_bound
from beamsplit.models.split.solver.staffed_bound import staffed_bound
from tests.models.split.small_problem import small


@pytest.mark.parametrize("seed", range(40))
def test_no_split_is_below_the_bound_and_the_best_lies_in_what_is_open(seed):
    draw = random.Random(seed)
    problem, count = small(draw, 0.9), draw.randint(2, 4)
    worker = Worker(draw.choice([1, 2]), draw.choice([math.inf, 8.0]), draw.choice([1.0, 2.0, math.inf]))
    replicate = draw.random() < 0.3
    try:
        best = balance(problem, [worker] * count, replicate=replicate)
    except CannotSplit:
        return
    assert best.optimal
    if not best.period:
        return
    told = spine_bound(problem, worker, count, best.period * draw.choice([1.0, 1.2, 2.0]), 60, replicate=replicate)
    assert told.bound <= best.period * (1 + 1e-9)
    for boundary, (done, may) in enumerate(zip(told.done, told.open, strict=True)):
        here = np.array(best.stage_of) <= boundary
        assert (done <= here).all()
        assert (here <= may).all()


@pytest.mark.parametrize("seed", range(40))
def test_no_split_over_unlike_workers_is_below_the_bound(seed):
    draw = random.Random(1000 + seed)
    problem, replicate = small(draw, 0.9), draw.random() < 0.5
    workers = [
        Worker(draw.choice([1.0, 2.0, 0.5]), draw.choice([math.inf, math.inf, 9.0]), draw.choice([1.0, 2.0, 7.0]))
        for _ in range(draw.randint(1, 3))
    ]
    try:
        best = balance(problem, workers, replicate=replicate)
    except CannotSplit:
        return
    assert best.optimal
    if best.period:
        known = best.period * draw.choice([1.0, 1.2, 2.0])
        assert staffed_bound(problem, workers, known, 60, replicate=replicate) <= best.period * (1 + 1e-9)


def test_what_must_lie_together_must_fit():
    # One unit needs 6 of 8 bytes, and the other 4: together they do not fit, so a slow link has to be paid for.
    values, weights = (Value(2.0, 0, (1,)),), (Weight(6.0, (0,)), Weight(4.0, (1,)))
    problem = Problem((1.0, 1.0), values, weights, links="direct")
    for workers in ([Worker(1.0, 8.0, 1.0), Worker(1.0, 7.0, 1.0)], [Worker(2.0, 8.0, 1.0), Worker(1.0, 7.0, 1.0)]):
        best = balance(problem, workers)
        assert staffed_bound(problem, workers, 9.0, 60) == pytest.approx(best.period, rel=2e-3)


@pytest.mark.parametrize("seed", range(30))
def test_a_minimum_cut_is_the_least_of_all_sets(seed):
    draw = random.Random(seed)
    problem = small(draw, 0.8)
    units = len(problem.seconds)
    fixed = [draw.choice([None, None, None, True, False]) for _ in range(units)]
    price = draw.choice([0.0, 1.0, -0.7])

    def traffic(inside):
        moved = 0.0
        for value in problem.values:
            made = value.producer >= 0 and inside[value.producer]
            read = [inside[user] for user in value.consumers]
            if value.producer >= 0 and not value.may_cross and len({made, *read}) > 1:
                return math.inf
            if made and (value.is_output or not all(read)):
                moved += value.nbytes
            if not made and any(read):
                moved += value.nbytes
        return moved + price * sum(second for second, one in zip(problem.seconds, inside, strict=True) if one)

    sets = [tuple(bool(mask >> unit & 1) for unit in range(units)) for mask in range(1 << units)]
    least = min(traffic(one) for one in sets if all(want in (None, has) for want, has in zip(fixed, one, strict=True)))
    cuts = LeastTraffic(problem, 1.0, problem.work)
    inside, outside = np.array([one is True for one in fixed]), np.array([one is False for one in fixed])
    assert cuts.least(inside, outside, price) == pytest.approx(least, abs=1e-5)


def test_places_along_a_chain_are_all_there_are():
    draw = random.Random(3)
    problem = small(draw, 0.8)
    for most in (4, 100):
        chain = spine(problem, most)
        order = list(range(len(problem.seconds)))
        for count in range(len(order) + 1):
            done = np.isin(np.arange(len(order)), order[:count])
            assert any(
                (least <= done).all() and (done <= may).all()
                for least, may in zip(chain.least, chain.most, strict=True)
            )
        assert len(chain.least) <= max(most, 4)


def test_what_lies_between_narrow_places_costs_its_traffic():
    # Two blocks of two branches; the branches are dear to part, and the place between is not.
    values = [Value(0.1, 0, (1, 2)), Value(5.0, 1, (3,)), Value(5.0, 2, (3,)), Value(0.1, 3, (4, 5)),
              Value(5.0, 4, (6,)), Value(5.0, 5, (6,))]  # fmt: skip
    problem = Problem((1.0, 2.0, 2.0, 1.0, 2.0, 2.0, 1.0), tuple(values), links="direct")
    told = spine_bound(problem, Worker(bandwidth=1.0), 3, 7.0, 60)
    assert told.bound == pytest.approx(balance(problem, [Worker(bandwidth=1.0)] * 3).period, rel=2e-3)
