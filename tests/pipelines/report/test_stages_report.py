"""What is said of stages: before a job, after it, and the better plan that is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import data_hash
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.split.measured_stages import MeasuredStage, MeasuredStages, full_seconds, measured_in
from beamsplit.models.split.plan import Plan, StagePlan, from_json
from beamsplit.pipelines.report import stages
from beamsplit.pipelines.report.stages import StagesReport, placed, planned_lines, stage_lines
from tests import onnx_models


def plan(*seconds: float, replicas: Sequence[int] = (1, 1, 1), file: str | None = None) -> Plan:
    made = tuple(
        StagePlan(k, (f"n{k}",), (f"t{k}",), (f"t{k + 1}",), seconds=one, replicas=replicas[k], file=file)
        for k, one in enumerate(seconds)
    )
    return Plan("m.onnx", "0" * 64, 8, made, period=max(seconds), inputs=("t0",), outputs=(f"t{len(seconds)}",))


def crossing(count: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(name=f"c{k}", kind="float32 x 4") for k in range(count)]


def test_a_line_a_stage_before_the_job():
    made = plan(0.2, 0.0, 0.1)
    first, *others = made.stages
    made = replace(made, stages=(replace(first, nodes=("a", "b"), weight_bytes=4096), *others))
    gpu = SessionOptions(providers=("CUDAExecutionProvider", "CPUExecutionProvider"), device=0)
    model = SimpleNamespace(plan=made, sessions=[SessionOptions(), gpu, SessionOptions()], workers=[1, 2, 0])
    assert planned_lines(model, [crossing(4), crossing(5)]) == [
        "0: 2 nodes, 4.10 kB of weights, 200 ms a micro-batch, 1 worker on CPUExecutionProvider; passes on "
        "c0 (float32 x 4), c1 (float32 x 4), c2 (float32 x 4), c3 (float32 x 4)",
        "1: 1 nodes, 0 B of weights, 2 workers on CUDAExecutionProvider:0; passes on "
        "c0 (float32 x 4), c1 (float32 x 4), c2 (float32 x 4), c3 (float32 x 4) and 1 more",
        "2: 1 nodes, 0 B of weights, 100 ms a micro-batch, 0 workers on CPUExecutionProvider",
    ]


@pytest.mark.parametrize(
    ("placement", "period", "told"),
    [
        (
            "inline",
            0.5,
            "inline: every worker runs all stages, micro-batches of 8 planned, 16 rows/s predicted (measured)",
        ),
        ("distributed", 0.0, "distributed: a worker a stage, micro-batches of 8 planned"),
    ],
)
def test_where_stages_run(placement: str, period: float, told: str):
    assert placed(placement, replace(plan(0.1, 0.2), period=period)) == told


def seen(*seconds: float, runs: int = 10, rows: int = 80) -> MeasuredStages:
    return MeasuredStages(tuple(MeasuredStage(k, runs, runs * one, 10.0) for k, one in enumerate(seconds)), rows=rows)


@pytest.mark.parametrize(
    ("planned", "period", "found", "workers", "said"),
    [
        # Two workers of a stage halve its share of the time.
        ((0.2, 0.4), 0.2, seen(0.2, 0.4), (1, 2), "busiest stage 200 ms, 200 ms planned (+0%), 8 rows a micro-batch"),
        ((0.2, 0.4), 0.0, seen(0.2, 0.4, rows=0), (1, 1), "busiest stage 400 ms"),
        (
            (0.2, 0.4),
            0.4,
            seen(0.1, 0.2, rows=40),
            (1, 1),
            "busiest stage 200 ms, 200 ms planned (+0%), 4 rows a micro-batch",
        ),
    ],
)
def test_the_busiest_stage_beside_the_plan(
    planned: Sequence[float], period: float, found: MeasuredStages, workers: Sequence[int], said: str
):
    made = stage_lines(replace(plan(*planned), period=period), found, workers)
    assert [line for line in made if line.startswith("bubbles")] == [
        f"bubbles  {found.bubble_share:.0%} of the workers' time; {said}"
    ]


def test_stages_that_were_not_planned_and_whose_queues_nobody_saw():
    first, second, *_ = stage_lines(plan(0.0, 0.2), seen(0.2, 0.2), (1, 3))
    assert first == "stage 0  200 ms a micro-batch, busy 20% of 1 worker"
    assert second == "stage 1  200 ms a micro-batch (200 ms planned), busy 20% of 3 workers"


def test_a_stage_that_never_ran():
    nothing = MeasuredStages((MeasuredStage(0, 1, 1.0, 1.0), MeasuredStage(1, 0, 0.0, 1.0)))
    assert stage_lines(plan(0.1, 0.1), nothing, (1, 1)) == ["stages   nothing ran through all of them"]


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    nodes = [
        helper.make_node("MatMul", ["t0", "w"], ["t1"], name="n0"),
        helper.make_node("Relu", ["t1"], ["t2"], name="n1"),
    ]
    given, made = [("t0", TensorProto.FLOAT, ["n", 2])], [("t2", TensorProto.FLOAT, ["n", 2])]
    onnx.save(onnx_models.build(nodes, given, made, {"w": np.ones((2, 2), np.float32)}), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


COUNTERS = {f"stage_{k}_{what}": value for k in (0, 1) for what, value in [("runs", 10), ("busy_usec", 10**6 << 2 * k)]}
COUNTERS |= {"stage_0_offered_usec": 8 * 10**6, "stage_1_offered_usec": 8 * 10**6}


@pytest.mark.parametrize("distributed", [True, False])
def test_the_better_plan_is_written(
    model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributed: bool
):
    ran = plan(0.3, 0.1, replicas=(3, 1), file="stage.onnx")
    asked = []

    def again(before: Plan, seconds: Sequence[float], workers: int) -> Plan:
        asked.append((before, list(seconds), workers))
        return replace(before, method="cut anew", period=0.2)

    model = SimpleNamespace(plan=ran)
    monkeypatch.setattr(stages, "staged_workers", lambda _: [1, 1])
    report = StagesReport(model, model_file, again, distributed)
    target = tmp_path / "better.json"
    told = report(COUNTERS, 80, str(target))["split"]
    workers = [3, 1] if distributed else [1, 1]
    assert asked == [(ran, full_seconds(ran, measured_in(COUNTERS, 2, 80)), sum(workers))]
    assert told["lines"][-1] == "replan   " + f"{target}: 40 rows/s predicted (cut anew)"
    assert [one["workers"] for one in told["stages"]] == workers
    written = from_json(target.read_text())
    assert (written.method, written.data_hash) == ("cut anew", data_hash(model_file))
    assert [stage.file for stage in written.stages] == [None, None]


def test_a_plan_from_elsewhere_keeps_its_stages(model_file: str, tmp_path: Path):
    def cannot(*_: object) -> Plan:
        raise UsageError("no room")

    model = SimpleNamespace(plan=plan(0.1, 0.1, replicas=(3, 2)))
    target = tmp_path / "better.json"
    StagesReport(model, model_file, cannot, True)(COUNTERS, 80, str(target))
    assert [(stage.seconds, stage.replicas) for stage in from_json(target.read_text()).stages] == [(0.1, 1), (0.4, 4)]


def test_nothing_is_written_unless_asked_for_or_where_a_stage_never_ran(model_file: str, tmp_path: Path):
    model = SimpleNamespace(plan=plan(0.1, 0.1))
    report = StagesReport(model, model_file, lambda *_: pytest.fail("asked for a plan"), True)
    assert len(report(COUNTERS, 80, None)["split"]["lines"]) > 2
    made = report({"stage_0_runs": 3}, 0, str(tmp_path / "none.json"))
    assert made["split"]["lines"] == ["stages   nothing ran through all of them"]
    assert not (tmp_path / "none.json").exists()
