from __future__ import annotations

import ast
import contextlib
import itertools
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import beamsplit.models.split.balance as solver
from beamsplit.models.split.balance import (
    CannotSplit,
    Problem,
    Value,
    Weight,
    Worker,
    balance,
    equal_count,
    equal_weight_bytes,
    evaluate,
)
from beamsplit.models.split.solver.crowd import CrowdSolver

INF = math.inf


@contextlib.contextmanager
def watched_calls(cls, name):
    """The arguments of each call of a method, while the block runs."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        kept = getattr(cls, name)
        patch.setattr(cls, name, lambda self, *args: calls.append(args) or kept(self, *args))
        yield calls


def plain_cost(problem, stage_of, teams, workers):
    """Period of a split, written out from the words of the cost model; None where it is not allowed."""
    count = len(teams)
    into, out = [0.0] * count, [0.0] * count
    for value in problem.values:
        if not value.consumers and not value.is_output:
            continue
        first = -1 if value.producer < 0 else stage_of[value.producer]
        last = count if value.is_output else max(stage_of[user] for user in value.consumers)
        if any(stage_of[user] < first for user in value.consumers):
            return None
        if not value.may_cross and max(first, 0) != min(last, count - 1):
            return None
        if problem.links == "direct":
            read_by = {stage_of[user] for user in value.consumers} - {first}
            for stage in read_by:
                into[stage] += value.nbytes
            if first >= 0 and (read_by or value.is_output):
                out[first] += value.nbytes
            continue
        for stage in range(count):
            into[stage] += value.nbytes if first < stage <= last else 0
            out[stage] += value.nbytes if first <= stage < last else 0
    slowest = [min(workers[w].bandwidth for w in team) for team in teams]
    period = 0.0
    for stage, team in enumerate(teams):
        inside = [unit for unit, at in enumerate(stage_of) if at == stage]
        memory = sum(weight.nbytes for weight in problem.weights if set(weight.users) & set(inside))
        memory += max(problem.activation_bytes[unit] for unit in inside)
        if any(memory > workers[w].memory_bytes for w in team):
            return None
        total = sum(workers[w].speed for w in team)
        share = max(workers[w].speed for w in team) / total
        before = slowest[stage] if stage == 0 or problem.links == "direct" else min(slowest[stage - 1], slowest[stage])
        behind = (
            slowest[stage]
            if stage == count - 1 or problem.links == "direct"
            else min(slowest[stage], slowest[stage + 1])
        )
        compute = sum(problem.seconds[unit] for unit in inside) / total
        period = max(period, compute + share * (into[stage] / before + out[stage] / behind))
    return period


def all_teams(count, workers, replicate, fixed_order):
    """Every way to give workers to so many stages: -1 leaves a worker out."""
    for dealt in itertools.product(range(-1, count), repeat=len(workers)):
        teams = [[w for w, stage in enumerate(dealt) if stage == s] for s in range(count)]
        if any(not team for team in teams) or (not replicate and any(len(team) > 1 for team in teams)):
            continue
        used = [(w, stage) for w, stage in enumerate(dealt) if stage >= 0]
        if fixed_order and [stage for _, stage in used] != sorted(stage for _, stage in used):
            continue
        # A stage of a fixed order takes neighbours only.
        if fixed_order and any(team[-1] - team[0] + 1 != len(team) for team in teams):
            continue
        yield teams


def brute_force(problem, workers, stages, replicate, fixed_order, keep_order):
    best = INF
    for count in [stages] if stages else range(1, len(workers) + 1):
        teams = list(all_teams(count, workers, replicate, fixed_order))
        for stage_of in itertools.product(range(count), repeat=len(problem.seconds)):
            if set(stage_of) != set(range(count)) or (keep_order and list(stage_of) != sorted(stage_of)):
                continue
            for team in teams:
                period = plain_cost(problem, stage_of, team, workers)
                if period is not None:
                    best = min(best, period)
    return best


@st.composite
def problems(draw, most_units=5, chain=False):
    units = draw(st.integers(1, most_units))
    amount = st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 0.3])
    values = []
    for unit in range(-1, units):
        for _ in range(draw(st.integers(0, 1 if unit < 0 else 2))):
            later = list(range(unit + 1, units))
            users = tuple(draw(st.lists(st.sampled_from(later), max_size=2, unique=True))) if later else ()
            crosses = draw(st.sampled_from([True, True, True, True, False]))
            values.append(Value(draw(amount), unit, users, draw(st.booleans()) and unit == units - 1, crosses))
        if chain and 0 <= unit < units - 1:
            values.append(Value(draw(amount), unit, (unit + 1,)))
    member = st.integers(0, units - 1)
    users = st.lists(member, min_size=1, max_size=3).map(tuple)
    weights = draw(st.lists(st.builds(Weight, amount, users), max_size=4))
    return Problem(
        tuple(draw(st.lists(amount, min_size=units, max_size=units))),
        tuple(values),
        tuple(weights),
        tuple(draw(st.lists(amount, min_size=units, max_size=units))),
        draw(st.sampled_from(["chain", "direct"])),
    )


kinds = st.builds(
    Worker,
    st.sampled_from([1.0, 1.0, 2.0, 0.5]),
    st.sampled_from([INF, INF, 8.0, 5.0]),
    st.sampled_from([INF, 2.0, 7.0]),
)
likes = st.builds(lambda worker, count: [worker] * count, kinds, st.integers(1, 3))
staffs = st.one_of(likes, st.lists(kinds, min_size=1, max_size=3))


def compare(problem, workers, stages, replicate, fixed_order, keep_order):
    asked = dict(replicate=replicate, fixed_order=fixed_order, keep_order=keep_order)
    best = brute_force(problem, workers, stages, **asked)
    try:
        found = balance(problem, workers, stages, **asked)
    except CannotSplit as error:
        assert best == INF, error
        assert error.most_stages is not None or error.smallest_memory_bytes is not None
        return
    assert found.period == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert plain_cost(problem, found.stage_of, found.workers_of, workers) == pytest.approx(found.period)
    assert found.lower_bound <= best * (1 + 1e-9) + 1e-12
    assert found.optimal and found.fits
    assert stages is None or found.stages == stages
    again = evaluate(problem, found.stage_of, found.workers_of, workers, lower_bound=found.lower_bound)
    assert (again.period, again.stage_memory, again.gap) == (found.period, found.stage_memory, found.gap)
    assert balance(problem, workers, stages, **asked) == found


@settings(deadline=None, max_examples=120)
@given(problems(chain=True), staffs, st.sampled_from([None, 1, 2, 3]), st.booleans(), st.booleans())
def test_chains_equal_brute_force(problem, workers, stages, replicate, fixed_order):
    if stages is None or stages <= len(workers):
        compare(problem, workers, stages, replicate, fixed_order, True)


@settings(deadline=None, max_examples=120)
@given(problems(), staffs, st.sampled_from([None, 1, 2, 3]), st.booleans(), st.booleans())
def test_graphs_equal_brute_force(problem, workers, stages, replicate, fixed_order):
    if stages is None or stages <= len(workers):
        compare(problem, workers, stages, replicate, fixed_order, False)


@settings(deadline=None, max_examples=120)
@given(problems(), st.one_of(likes, staffs), st.sampled_from([None, 1, 2, 3]), st.booleans(), st.booleans())
def test_workers_that_are_counted_equal_brute_force(problem, workers, stages, fixed_order, keep_order):
    if stages is not None and stages > len(workers):
        return
    most, solver.MOST_MOVES = solver.MOST_MOVES, 0
    try:
        if fixed_order or len(set(workers)) == 1:
            compare(problem, workers, stages, True, fixed_order, keep_order)
            return
        found = balance(problem, workers, stages, replicate=True, keep_order=keep_order)
    except CannotSplit as error:
        assert error.smallest_memory_bytes is not None or error.most_stages is not None
        return
    finally:
        solver.MOST_MOVES = most
    best = brute_force(problem, workers, stages, True, False, keep_order)
    assert found.lower_bound <= best * (1 + 1e-9) <= found.period * (1 + 2e-9)
    assert plain_cost(problem, found.stage_of, found.workers_of, workers) == pytest.approx(found.period)
    assert found.fits


def test_more_kinds_of_workers_than_are_told_apart():
    workers = [Worker(1 + at / 200, bandwidth=50 + at) for at in range(200)]
    found = balance(line([1, 6, 1, 2], 3.0), workers, 3, replicate=True)
    assert (found.stages, found.fits) == (3, True)
    assert found.lower_bound <= found.period <= 1.3 * found.lower_bound


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_thousand_workers_and_three_hundred_units(kinds):
    draw = random.Random(3)
    values = [Value(draw.randint(1, 100), at, (at + 1, min(299, at + draw.randint(1, 20)))) for at in range(299)]
    weights = [Weight(draw.randint(1, 9), (at,)) for at in range(300)]
    problem = Problem(tuple(draw.random() for _ in range(300)), tuple(values), tuple(weights))
    staff = [Worker(1 + at % kinds, 100, 1e4 * (1 + at % kinds)) for at in range(1000)]
    with watched_calls(CrowdSolver, "attempt") as attempts:
        found = balance(problem, staff, replicate=True)
    assert found.fits and found.lower_bound <= found.period
    assert found.optimal or kinds > 1
    assert found.gap < 0.2
    # Each takes as long as the graph is large, however many workers there are.
    assert 0 < len(attempts) < 400


@settings(deadline=None, max_examples=60)
@given(problems(), likes, st.booleans())
def test_many_orders_are_never_below_the_bound(problem, workers, replicate):
    best = brute_force(problem, workers, None, replicate, False, False)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in vars(solver) if name.startswith("MOST_IDEALS")]:
            patch.setattr(solver, name, 1)
        try:
            found = balance(problem, workers, replicate=replicate)
        except CannotSplit:
            return
    assert found.lower_bound <= best * (1 + 1e-9) <= found.period * (1 + 2e-9)
    assert plain_cost(problem, found.stage_of, found.workers_of, workers) == pytest.approx(found.period)
    assert found.gap == pytest.approx(found.period / found.lower_bound - 1 if found.lower_bound else found.gap)


def line(seconds, nbytes=0.0):
    return Problem(tuple(seconds), tuple(Value(nbytes, at, (at + 1,)) for at in range(len(seconds) - 1)))


def test_a_chain_by_hand():
    found = balance(line([4, 1, 1, 1, 1], 10.0), [Worker(bandwidth=10.0)] * 2, 2)
    assert (found.stage_of, found.period, found.method) == ((0, 1, 1, 1, 1), 5.0, "chain")
    assert (found.stage_seconds, found.bytes_in, found.bytes_out) == ((5.0, 5.0), (0.0, 10.0), (10.0, 0.0))


def test_what_passes_through_a_stage_is_counted_in_and_out():
    skip = Problem((1, 1, 1), (Value(8, 0, (1,)), Value(3, 0, (2,)), Value(1, 1, (2,))))
    found = evaluate(skip, (0, 1, 2), ((0,), (1,), (2,)), [Worker(bandwidth=1.0)] * 3)
    assert (found.bytes_in, found.bytes_out) == ((0.0, 11.0, 4.0), (11.0, 4.0, 0.0))


def test_what_goes_directly_is_counted_out_once_and_into_each_stage_that_reads_it():
    values = (Value(8, 0, (1,)), Value(3, 0, (2, 3)), Value(1, 1, (2,)), Value(5, -1, (0, 3)), Value(7, 1, (), True))
    skip = Problem((1, 1, 1, 1), values, links="direct")
    found = evaluate(
        skip, (0, 1, 2, 3), ((0,), (1,), (2,), (3,)), [Worker(bandwidth=1.0), *[Worker(bandwidth=2.0)] * 3]
    )
    assert (found.bytes_in, found.bytes_out) == ((5.0, 8.0, 4.0, 8.0), (11.0, 8.0, 0.0, 0.0))
    # Each end at its own bandwidth.
    assert (found.stage_seconds, found.links) == ((17.0, 9.0, 3.0, 5.0), "direct")
    with pytest.raises(ValueError, match=r"links must be one of chain, direct, got \[ring\]"):
        Problem((1,), links="ring")


def test_replicas_go_to_the_heavy_stage():
    found = balance(line([1, 6, 1]), [Worker()] * 5, 3, replicate=True)
    assert (found.period, [len(team) for team in found.workers_of]) == (2.0, [1, 3, 1])


def test_too_many_stages_says_how_many_there_can_be():
    with pytest.raises(CannotSplit, match="3 units can be cut into at most 3 stages") as raised:
        balance(line([1, 1, 1]), [Worker()] * 5, 4)
    assert raised.value.most_stages == 3
    with pytest.raises(CannotSplit, match="only 2 workers") as raised:
        balance(line([1, 1, 1]), [Worker()] * 2, 3)
    assert raised.value.most_stages == 2


def test_too_little_memory_says_how_much_is_needed():
    heavy = Problem(line([1, 1, 1, 1]).seconds, line([1, 1, 1, 1]).values, tuple(Weight(9, (at,)) for at in range(4)))
    with pytest.raises(CannotSplit, match="with 18 bytes in each of 2 workers there is one") as raised:
        balance(heavy, [Worker(memory_bytes=17)] * 2, 2)
    assert raised.value.smallest_memory_bytes == 18
    assert balance(heavy, [Worker(memory_bytes=18)] * 2, 2).stage_of == (0, 0, 1, 1)


def test_the_published_tools_splits():
    problem = Problem(line([1] * 4).seconds, line([1] * 4).values, (Weight(90, (0,)), Weight(10, (3,))))
    assert equal_count(problem, 2) == (0, 0, 1, 1)
    assert equal_weight_bytes(problem, 2) == (0, 1, 1, 1)
    with pytest.raises(CannotSplit, match="1 to 4"):
        equal_count(problem, 5)


@pytest.mark.parametrize(
    ("stage_of", "teams", "message"),
    [
        ((1, 0, 0), ((0,), (1,)), "later stage"),
        ((0, 0, 0), ((0,), (1,)), "wanted each of 0 to 1"),
        ((0, 0, 1), ((0,), (0,)), "workers of its own"),
        ((0, 0, 1), ((0,), (7,)), "there are 0 to 1"),
    ],
)
def test_a_wrong_split_is_refused(stage_of, teams, message):
    with pytest.raises(ValueError, match=message):
        evaluate(line([1, 1, 1]), stage_of, teams, [Worker()] * 2)


@pytest.mark.parametrize("replicate", [False, True])
@pytest.mark.parametrize("skips", [0, 900])
def test_two_thousand_units_into_sixteen_stages(skips, replicate):
    draw = random.Random(7)
    values = [Value(draw.randint(1, 100), at, (at + 1,)) for at in range(1999) if not skips or draw.random() < 0.8]
    for _ in range(skips):
        first = draw.randrange(1990)
        values.append(Value(draw.randint(1, 100), first, (min(1999, first + draw.randint(1, 60)),)))
    problem = Problem(tuple(draw.random() for _ in range(2000)), tuple(values))
    found = balance(problem, [Worker(bandwidth=100.0)] * 16, 16 if not replicate else 8, replicate=replicate)
    assert found.stages == (8 if replicate else 16)
    assert found.lower_bound <= found.period
    assert found.optimal or skips


def test_it_imports_only_numpy_and_the_standard_library():
    folder = Path(solver.__file__).parent
    for path in [folder / "balance.py", *sorted((folder / "solver").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("models"):
                assert node.module.startswith("beamsplit.models.split.solver."), path
