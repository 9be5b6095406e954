"""What planning may cost beside the job that it is for."""

from __future__ import annotations

import math

import pytest

from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget


@pytest.mark.parametrize(
    ("budget", "row_seconds", "limit"),
    [
        (PlanningBudget(rows=8, workers=2), 0.25, 2.0),
        (PlanningBudget(rows=8), 0.25, 2.0),
        (PlanningBudget(rows=80), 0.25, 2.0),
        (PlanningBudget(rows=81), 0.25, 2.025),
        (PlanningBudget(rows=8_000, workers=2), 0.25, 100.0),
        (PlanningBudget(rows=8_000, workers=0), 0.25, 200.0),
        (PlanningBudget(rows=0), 1.0, 2.0),
        (PlanningBudget(rows=lambda: 81), 0.25, 2.025),
        (PlanningBudget(rows=lambda: None), 0.25, math.inf),
        (PlanningBudget(seconds=0.5, rows=10_000), 1.0, 0.5),
        (PlanningBudget(seconds=60.0, rows=1), 1.0, 60.0),
        (PlanningBudget(), 1.0, math.inf),
        (UNLIMITED, 3600.0, math.inf),
    ],
)
def test_the_limit_is_two_seconds_or_a_tenth_of_the_job(budget: PlanningBudget, row_seconds: float, limit: float):
    assert budget.limit(row_seconds) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("budget", "runs", "row_seconds", "allowed"),
    [
        (PlanningBudget(rows=1), 8, 0.25, True),
        (PlanningBudget(rows=1), 9, 0.25, False),
        (PlanningBudget(seconds=0.001), 1, 0.001, True),
        (PlanningBudget(seconds=0.001), 1, 0.002, False),
        (UNLIMITED, 10**9, 10.0, True),
    ],
)
def test_runs_are_allowed_up_to_the_limit(budget: PlanningBudget, runs: int, row_seconds: float, allowed: bool):
    assert budget.allows(runs, row_seconds) is allowed
