from __future__ import annotations

import pytest

from beamsplit.models.split.measured_stages import MeasuredStage, MeasuredStages, as_data, better_plan, measured_in
from beamsplit.models.split.plan import Plan, StagePlan
from beamsplit.models.split.replan import scaled_nodes
from beamsplit.pipelines.report.stages import stage_lines as lines


def plan(*seconds: float, replicas: int = 1) -> Plan:
    stages = tuple(
        StagePlan(k, (f"n{k}",), (f"t{k}",), (f"t{k + 1}",), seconds=one, replicas=replicas)
        for k, one in enumerate(seconds)
    )
    return Plan("m.onnx", "", 8, stages, period=max(seconds) / replicas, lower_bound=0.01)


COUNTERS = {
    **{"stage_0_runs": 10, "stage_0_busy_usec": 2_000_000, "stage_0_offered_usec": 4_000_000},
    **{"stage_1_runs": 10, "stage_1_busy_usec": 4_000_000, "stage_1_offered_usec": 4_000_000},
    **{"stage_1_queue_usec": 6_000_000, "stages_active_usec": 4_000_000},
}


def test_counters_tell_shares_and_depths():
    seen = measured_in(COUNTERS, 2, rows=80)
    assert [stage.seconds for stage in seen.stages] == [0.2, 0.4]
    assert [stage.busy_share for stage in seen.stages] == [0.5, 1.0]
    assert [seen.queue_depth(k) for k in range(2)] == [0.0, 1.5]
    assert seen.bubble_share == 0.25 and seen.fill(8) == 1.0


def test_lines_stand_beside_the_plan():
    assert lines(plan(0.3, 0.3), measured_in(COUNTERS, 2, rows=80), (1, 1)) == [
        "stage 0  200 ms a micro-batch (300 ms planned), busy 50% of 1 worker, 0.0 waiting",
        "stage 1  400 ms a micro-batch (300 ms planned), busy 100% of 1 worker, 1.5 waiting",
        "bubbles  25% of the workers' time; busiest stage 400 ms, 300 ms planned (+33%), 8 rows a micro-batch",
        "better   stage times are over 15% off: other cuts may be better; --replan FILE plans by those measured",
    ]


def test_as_planned_nothing_is_better():
    assert len(lines(plan(0.2, 0.4), measured_in(COUNTERS, 2, rows=80), (1, 1))) == 3


def test_micro_batches_that_are_not_full_are_compared_with_as_many_rows():
    seen = measured_in(COUNTERS, 2, rows=40)
    assert seen.fill(8) == 0.5
    assert "200 ms a micro-batch (200 ms planned)" in lines(plan(0.4, 0.8), seen, (1, 1))[0]
    assert [stage.seconds for stage in better_plan(plan(0.4, 0.8), seen).stages] == [0.4, 0.8]
    assert as_data(plan(0.4, 0.8), seen, (1, 1))["rows_per_micro_batch"] == 4


def test_workers_are_shared_out_by_what_was_measured():
    seen = MeasuredStages((MeasuredStage(0, 10, 10.0, 40.0), MeasuredStage(1, 10, 60.0, 60.0)))
    better = better_plan(plan(1.0, 1.0, replicas=2), seen)
    assert [stage.replicas for stage in better.stages] == [1, 3]
    assert better.period == pytest.approx(2.0) and better.lower_bound == pytest.approx(7 / 4)
    assert "1, 3 workers" in lines(plan(1.0, 1.0, replicas=2), seen, (2, 2))[-1]


def test_a_job_without_rows_has_nothing_to_tell():
    assert lines(plan(1.0, 1.0), measured_in({}, 2), (1, 1)) == ["stages   nothing ran through all of them"]


def test_nodes_are_scaled_to_what_their_stage_took():
    two = plan(1.0, 1.0)
    shared = Plan(
        "m.onnx",
        "",
        8,
        (
            StagePlan(0, ("a", "b"), ("x",), ("t",)),
            StagePlan(1, ("b", "c"), ("t",), ("y",)),
        ),
    )
    assert scaled_nodes({"n0": 1.0, "n1": 2.0, "other": 5.0}, two, [3.0, 1.0]) == {"n0": 3.0, "n1": 1.0, "other": 5.0}
    assert scaled_nodes({"a": 1.0, "b": 1.0, "c": 1.0}, shared, [4.0, 1.0]) == {"a": 2.0, "b": 2.0, "c": 0.5}
