"""What is drawn of plans is what was recorded."""

from __future__ import annotations

import pytest

from beamsplit.pipelines.report.html.stage_drawing import LANE_LEFT, _ticks
from tests.pipelines.report.recorded_drawings import RECORDED


def test_each_plan_is_drawn_as_recorded() -> None:
    assert RECORDED.changed() == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, ""),
        (3.0, "0 500 ms 1 s 1.5 s 2 s 2.5 s 3 s"),
        (0.007, "0 1 ms 2 ms 3 ms 4 ms 5 ms 6 ms 7 ms"),
        (0.0072, "0 2 ms 4 ms 6 ms"),
        (36.0, "0 10 s 20 s 30 s"),
    ],
)
def test_an_axis_has_round_times_of_which_there_are_few(seconds: float, told: str):
    ticks = _ticks(seconds, 100 / (seconds or 1))
    assert " ".join(tick.text for tick in ticks) == told
    assert [tick.x for tick in ticks] == sorted(tick.x for tick in ticks)
    assert all(LANE_LEFT <= tick.x <= LANE_LEFT + 100.001 for tick in ticks)
