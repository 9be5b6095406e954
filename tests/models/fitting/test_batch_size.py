from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.fitting.batch_size import FEW_RUNS, SLOW_RUNS, SLOW_SECONDS, BatchSizeChoice, find_batch_size
from beamsplit.models.running.session import ModelRunError


class Machine:
    """A clock that goes on only when a run takes time."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.runs: list[int] = []

    def clock(self) -> float:
        return self.now

    def run(self, rows: int) -> None:
        self.runs.append(rows)
        self.now += self.seconds(rows)

    def choose(self, *, bytes_per_row: int = 1, **options: float | int | tuple[int, ...]) -> BatchSizeChoice:
        return find_batch_size(self.run, bytes_per_row=bytes_per_row, clock=self.clock, **options)  # type: ignore[arg-type]


def test_the_smallest_size_within_five_percent_of_the_best() -> None:
    # 1 ms a call and 10 us a row: 2,048 rows reach 95.3% of the limit of 100,000 rows/s, 1,024 reach 91%.
    machine = Machine(lambda rows: 1e-3 + 1e-5 * rows)
    choice = machine.choose(budget_seconds=100.0)
    best = max(size / seconds for size, seconds in choice.measured)
    assert choice.rows_per_second >= 0.95 * best
    assert choice.batch_size // 2 / machine.seconds(choice.batch_size // 2) < 0.95 * best
    assert choice.rows_per_second == pytest.approx(choice.batch_size / machine.seconds(choice.batch_size))


def test_no_gain_from_more_rows_means_one_row() -> None:
    machine = Machine(lambda rows: 0.001 * rows)
    choice = machine.choose(budget_seconds=10.0)
    assert choice.batch_size == 1
    assert max(machine.runs) == 8  # Three sizes without gain.


def test_a_cliff_beyond_the_cache_is_not_chosen() -> None:
    machine = Machine(lambda rows: 1e-4 + rows * (1e-6 if rows <= 4096 else 3e-6))
    choice = machine.choose(budget_seconds=10.0)
    assert choice.batch_size in (2048, 4096)


def test_a_model_whose_weights_are_most_of_the_work_gets_many_rows() -> None:
    # One row takes longer than the whole search should, or half as long, and so do sixteen.
    for once in (0.4, 0.08):
        machine = Machine(lambda rows, once=once: once + once / 100 * rows)
        assert machine.choose(budget_seconds=0.15).batch_size >= 32
        assert machine.now < 6
    slower = Machine(lambda rows: 30.0 + rows)
    assert slower.choose(budget_seconds=0.15).batch_size == 1
    assert slower.runs == [1, 1]


def test_a_slow_models_search_ends_after_as_long_as_twenty_runs_of_one_row() -> None:
    # 0.2 s a row and 4 s in all: after 1.64 s four rows are expected to take 2.48 s, which is too long.
    machine = Machine({1: 0.2, 2: 1.24}.__getitem__)
    assert machine.choose(budget_seconds=0.15).measured == ((1, 0.2), (2, pytest.approx(1.24)))
    assert machine.runs == [1, 1, 2]
    # Where they are expected to take 2.36 s, they are tried.
    machine = Machine({1: 0.2, 2: 1.18, 4: 9.0}.__getitem__)
    machine.choose(budget_seconds=0.15)
    assert machine.runs == [1, 1, 2, 4]


def test_the_memory_cap_leaves_sizes_out() -> None:
    machine = Machine(lambda rows: 1e-3)
    choice = machine.choose(bytes_per_row=1024, memory_cap=64 * 1024)
    assert max(machine.runs) == choice.batch_size == 64


def test_one_row_beyond_the_cap_is_still_run() -> None:
    assert Machine(lambda rows: 1e-3).choose(bytes_per_row=1 << 40).batch_size == 1


def test_the_budget_ends_the_search() -> None:
    machine = Machine(lambda rows: 0.05 + 0.001 * rows)
    machine.choose(budget_seconds=0.25)
    assert machine.now <= 0.25


def test_a_slow_model_runs_only_one_row() -> None:
    machine = Machine(lambda rows: 2.0 * rows**0.5)
    choice = machine.choose(budget_seconds=0.25)
    assert machine.runs == [1, 1]
    assert choice == BatchSizeChoice(1, 0.5, ((1, 2.0),))


def test_a_fast_clock_that_shows_nothing_does_not_divide_by_zero() -> None:
    assert Machine(lambda rows: 0.0).choose().batch_size >= 1


@settings(max_examples=50, deadline=None)
@given(
    fixed=st.floats(1e-6, 1e-1),
    per_row=st.floats(1e-8, 1e-2),
    bytes_per_row=st.integers(0, 1 << 24),
    cap=st.integers(1, 1 << 28),
    budget=st.floats(0.01, 1.0),
)
def test_never_above_the_cap_nor_far_beyond_the_budget(
    fixed: float, per_row: float, bytes_per_row: int, cap: int, budget: float
) -> None:
    machine = Machine(lambda rows: fixed + per_row * rows)
    choice = machine.choose(bytes_per_row=bytes_per_row, memory_cap=cap, budget_seconds=budget)
    assert max(machine.runs) == 1 or max(machine.runs) * bytes_per_row <= cap
    assert choice.batch_size in [size for size, _ in choice.measured]
    # The first two runs are made in any case; a size may be repeated for a twentieth of the budget.
    once = machine.seconds(1)
    allowed = budget if once <= budget / FEW_RUNS else max(budget, min(SLOW_RUNS * once, SLOW_SECONDS))
    assert machine.now <= max(2 * once, 1.1 * allowed) + 1e-9


def test_runs_too_short_to_share_a_process_are_passed_over() -> None:
    # 1 us a row whatever the size: one row would do, but a run of it is shorter than what surrounds it.
    assert Machine(lambda rows: 1e-6 * rows).choose(budget_seconds=10.0).batch_size == 1024
    assert Machine(lambda rows: 4e-4 * rows).choose(budget_seconds=10.0).batch_size == 4
    # A model that slows down long before its runs last that long keeps the largest size near its best.
    slower = Machine(lambda rows: rows * (1e-6 if rows <= 128 else 3e-6))
    assert slower.choose(budget_seconds=10.0).batch_size == 128


def test_a_size_that_the_model_cannot_run_ends_the_search():
    def run(rows: int) -> None:
        if rows > 8:
            raise ModelRunError("out of memory")

    choice = find_batch_size(run, bytes_per_row=1)
    assert choice.batch_size <= 8 and [rows for rows, _ in choice.measured] == [1, 2, 4, 8][: len(choice.measured)]
