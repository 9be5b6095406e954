"""What is drawn of plans, in drawings.txt: `python -m tests.pipelines.report.recorded_drawings` records it.

A case is what is drawn, and of how many stages, blocks and micro-batches: `timetable 3 12 8`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from beamsplit.pipelines.report.html import MeasuredRun, MeasuredStage
from beamsplit.pipelines.report.html.graph_drawing import clip, draw_graph
from beamsplit.pipelines.report.html.stage_drawing import (
    bubble_rows,
    draw_measured,
    draw_seconds,
    draw_timetable,
    draw_weights,
)
from beamsplit.pipelines.report.plan_table import plain_lines
from beamsplit.pipelines.report.units import show_bytes, show_rate, show_seconds
from tests.models.split.plans import residual_plan
from tests.recorded import Recorded


def said(line: str) -> str:
    """What is drawn."""
    what, *words = line.split()
    if what in ("bytes", "seconds_of", "rate"):
        show = {"bytes": show_bytes, "seconds_of": show_seconds, "rate": show_rate}[what]
        return show(float(words[0]))
    if what == "clip":
        return clip(words[0], float(words[1]))
    stages, blocks, batches = (int(word) for word in (words + ["12", "0"][len(words) - 1 :])[:3])
    plan, graph = residual_plan(stages, blocks)
    run = MeasuredRun(tuple(MeasuredStage(one.seconds * 2, 1, 0.9, 1.5, 40) for one in plan.stages), 0.11)
    match what:
        case "graph":
            return _told(draw_graph(plan, graph))
        case "seconds":
            return _told(draw_seconds(plan))
        case "weights":
            return _told(draw_weights(plan))
        case "measured":
            return _told(draw_measured(plan, run))
        case "timetable":
            return _told(draw_timetable(plan, batches or None))
        case "bubbles":
            return _told(bubble_rows(plan))
        case "table":
            return " | ".join(plain_lines(plan))
    raise ValueError(f"nothing draws {what}")


def _told(value: Any) -> str:
    """A value with all that is in it, numbers to five digits."""
    if dataclasses.is_dataclass(value):
        return (
            f"{type(value).__name__}({' '.join(_told(getattr(value, one.name)) for one in dataclasses.fields(value))})"
        )
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_told, value))}]"
    return f"{value:.5g}" if isinstance(value, float) else str(value) or "''"


RECORDED = Recorded(Path(__file__).parent / "drawings.txt", said)

if __name__ == "__main__":
    RECORDED.main()
