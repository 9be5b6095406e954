"""What is drawn of plans is what was recorded."""

from __future__ import annotations

from tests.pipelines.report.recorded_drawings import RECORDED


def test_each_plan_is_drawn_as_recorded() -> None:
    assert RECORDED.changed() == []
