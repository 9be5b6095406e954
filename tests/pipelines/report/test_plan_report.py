from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.split.plan import Plan
from beamsplit.pipelines.report.html import MeasuredRun, MeasuredStage, read_measured, render_report
from beamsplit.pipelines.report.html.graph_drawing import clip, draw_graph
from beamsplit.pipelines.report.html.stage_drawing import draw_seconds, draw_timetable
from tests.models.split.plans import residual_plan
from tests.pipelines.report.drawings import drawings


def measured(plan: Plan) -> MeasuredRun:
    return MeasuredRun(tuple(MeasuredStage(stage.seconds * 2, 1, 0.9, 1.5, 40) for stage in plan.stages), 0.11)


def test_page_is_whole_and_needs_no_network():
    plan, graph = residual_plan(3)
    page = render_report(plan, graph, measured(plan))
    assert not re.search(r"(src|href)=|https?://|<script|@import", page)
    assert plan.verdict in page
    assert "+100 %" in page
    # Seconds, weights, graph, timetable, predicted, measured.
    assert len(drawings(page)) == 6


def test_drawings_can_be_read_aloud():
    plan, graph = residual_plan(4)
    for drawing in drawings(render_report(plan, graph)):
        assert drawing.get("role") == "img" and drawing.get("aria-label")
        assert drawing.find("title") is not None and drawing.find("desc") is not None


def test_names_are_escaped():
    plan, graph = residual_plan(2)
    evil = "<script>alert(1)</script>&\"'"
    plan = replace(plan, model=evil, verdict=evil, notes=(evil,), method=evil)
    plan = replace(plan, stages=(replace(plan.stages[0], workers=(evil,)), plan.stages[1]))
    box = replace(graph.boxes[0], operators=((evil, 1),))
    graph = replace(graph, boxes=(box, *graph.boxes[1:]), inputs=(evil,))
    page = render_report(plan, graph)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    drawings(page)


@pytest.mark.parametrize("stages", [1, 2, 5, 12])
def test_nothing_lies_on_another_or_outside(stages: int):
    plan, graph = residual_plan(stages, 24)
    drawing = draw_graph(plan, graph)
    boxes = drawing.boxes
    for at, one in enumerate(boxes):
        assert one.x >= 0 and one.x + one.width <= drawing.width
        assert one.y >= 0 and one.y + one.height <= drawing.height
        for other in boxes[at + 1 :]:
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert apart or one.y + one.height < other.y or other.y + other.height < one.y
    for before, after in zip(drawing.bands, drawing.bands[1:], strict=False):
        assert before.y + before.height < after.y


@pytest.mark.parametrize("stages", [2, 12])
def test_lines_keep_to_the_drawing_however_many_pass_stages_by(stages: int):
    drawing = draw_graph(*residual_plan(stages, 6))
    far = [line.path for line in drawing.lines if line.far]
    assert len(far) > 5 or stages == 2
    for line in drawing.lines:
        places = [float(number) for number in re.findall(r"-?[0-9.]+", line.path)]
        assert all(0 <= x <= drawing.width for x in places[::2]), line.path
        assert all(0 <= y <= drawing.height for y in places[1::2]), line.path
    # Five lanes beside one another; what comes then shares them.
    lanes = [re.findall(r"L([0-9.]+),", path)[0] for path in far]
    assert len(set(lanes)) == min(5, len(far)) and lanes[:5] == sorted(set(lanes), key=float)


def test_a_tensor_that_passes_through_is_drawn_as_such():
    plan, graph = residual_plan(12, 6)
    made = {name: stage.index for stage in plan.stages for name in stage.outputs} | {"image": -1}
    far = {name for stage in plan.stages for name in stage.inputs if made[name] < stage.index - 1}
    hints = [line.hint for line in draw_graph(plan, graph).lines if line.far]
    assert far
    assert all(any(name in hint for hint in hints) for name in far)


def test_text_keeps_to_its_room():
    assert clip("BatchNormalization", 30) == "BatchNormalization"
    assert clip("BatchNormalization", 8) == "BatchNo…"


def test_bars_stay_within_the_period():
    plan, _ = residual_plan(3)
    chart = draw_seconds(replace(plan, stages=(replace(plan.stages[0], replicas=2), *plan.stages[1:])))
    assert chart.mark is not None
    assert chart.bars[0].length == pytest.approx(chart.bars[2].length * 0.004 / 2 / 0.00496)
    assert all(bar.text_x >= chart.mark for bar in chart.bars)
    assert chart.bars[0].text == "4.00 ms / 2 = 2.00 ms"


def test_timetable_has_a_lane_for_each_replica():
    plan, _ = residual_plan(3)
    plan = replace(plan, stages=(plan.stages[0], replace(plan.stages[1], replicas=2), plan.stages[2]))
    table = draw_timetable(plan, 5)
    assert [lane.label for lane in table.lanes] == ["stage 0", "stage 1 · 0", "stage 1 · 1", "stage 2"]
    assert len(table.runs) == 15
    assert all(table.left <= run.x and run.x + run.width <= table.right + 0.1 for run in table.runs)


def test_a_plan_without_times_has_a_page_too():
    plan, _ = residual_plan(2)
    plan = replace(
        plan, period=0.0, lower_bound=0.0, verdict="", stages=tuple(replace(s, seconds=0.0) for s in plan.stages)
    )
    drawings(render_report(plan))


SUMMARY = {
    "split": {
        "stages": [
            {"seconds": 0.01, "workers": 2, "busy_share": 0.9, "queue_depth": 0.5, "runs": 12},
            {"seconds": 0.02, "workers": 1, "busy_share": 0.8, "queue_depth": 1.5, "runs": 12},
        ],
        "bubble_share": 0.2,
    }
}


def test_measured_run_is_read(tmp_path: Path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(SUMMARY))
    run = read_measured(str(path), residual_plan(2)[0])
    assert run.period == 0.02
    assert run.stages[0] == MeasuredStage(0.01, 2, 0.9, 0.5, 12)


@pytest.mark.parametrize(
    ("text", "stages", "message"),
    [
        ("{", 2, "is not JSON"),
        ('{"rows_in": 3}', 2, "is no summary of a job that ran a split model"),
        (json.dumps(SUMMARY), 3, "is of 2 stages, but the plan has 3"),
        ('{"split": {"stages": [{"seconds": 1}], "bubble_share": 0}}', 1, "'workers'"),
    ],
)
def test_measured_refusals(text: str, stages: int, message: str, tmp_path: Path):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_measured(str(path), residual_plan(stages)[0])


def test_measured_missing(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--measured .* cannot be read"):
        read_measured(str(tmp_path / "none.json"), residual_plan(2)[0])
