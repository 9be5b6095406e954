"""Puts a report together: the drawings and the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.split.coarse import CoarseGraph
from beamsplit.models.split.plan import Plan
from beamsplit.pipelines.report import plan_table
from beamsplit.pipelines.report.html.frontier_drawing import draw_frontier
from beamsplit.pipelines.report.html.graph_drawing import draw_graph
from beamsplit.pipelines.report.html.measured import MeasuredRun
from beamsplit.pipelines.report.html.stage_drawing import (
    bubble_rows,
    draw_measured,
    draw_seconds,
    draw_timetable,
    draw_weights,
)
from beamsplit.pipelines.report.units import show_bytes, show_rate, show_seconds
from beamsplit.pipelines.typed import as_typed


def render_report(plan: Plan, graph: CoarseGraph | None = None, run: MeasuredRun | None = None) -> str:
    """The report as one HTML page, which needs no other file.

    Args:
        plan: what to show.
        graph: the model's graph made coarse; None leaves its drawing out.
        run: what a run of the plan measured.

    Raises:
        UsageError: jinja2 is not installed.
    """
    return page(
        "report.html.jinja",
        plan=plan,
        header=plan_table.HEADER,
        rows=plan_table.stage_rows(plan),
        bound=plan_table.bound_line(plan),
        alternatives=[plan_table.alternative(one) for one in plan.others],
        graph=draw_graph(plan, graph) if graph is not None else None,
        seconds=draw_seconds(plan),
        weights=draw_weights(plan),
        timetable=draw_timetable(plan),
        bubbles=bubble_rows(plan),
        frontier=draw_frontier(plan) if plan.frontier else None,
        run=run,
        compared=draw_measured(plan, run) if run is not None else None,
    )


def page(template: str, **values: Any) -> str:
    """A page of a template of this folder.

    Raises:
        UsageError: jinja2 is not installed.
    """
    check_renderer()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": show_bytes, "seconds": show_seconds, "rate": show_rate}
    return as_typed(environment.get_template(template).render(values))


def check_renderer() -> None:
    """Raise unless what the report needs is installed.

    Raises:
        UsageError: jinja2 is missing.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise UsageError("--report needs jinja2, which is not installed: pip install jinja2") from None
