"""A plan as a table on the terminal, or as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from beamsplit.models.split.frontier import fastest, leanest
from beamsplit.models.split.plan import Alternative, FrontierPoint, Plan
from beamsplit.pipelines.report.table import Table
from beamsplit.pipelines.report.units import show_bytes, show_rate, show_seconds

if TYPE_CHECKING:
    from beamsplit.pipelines.report.html.measured import MeasuredRun

HEADER = ("stage", "nodes", "weights", "time", "in", "out", "replicas", "worker")
"""Time, in and out are per micro-batch; time is on the slowest worker that runs the stage."""


def stage_rows(plan: Plan) -> list[tuple[str, ...]]:
    """The cells of each stage, under `HEADER`."""
    return [
        (
            str(stage.index),
            f"{len(stage.nodes):,}",
            show_bytes(stage.weight_bytes),
            show_seconds(stage.worker_seconds),
            show_bytes(stage.bytes_in),
            show_bytes(stage.bytes_out),
            str(stage.replicas),
            _some(stage.workers),
        )
        for stage in plan.stages
    ]


def facts(plan: Plan, run: MeasuredRun | None = None) -> list[tuple[str, str]]:
    """(name, text) of what is known of the plan as a whole; a name may be empty where a line goes on.

    Args:
        plan: to be told of.
        run: what a run of it measured.
    """
    threads = f"{plan.threads} thread{'s' * (plan.threads != 1)}" if plan.threads else "all cores"
    source = "measured" if plan.source == "measured" else "estimated, not measured"
    found = [
        ("model", f"{plan.model}, micro-batches of {plan.micro_batch} rows, {plan.provider}, {threads}, {source}"),
        ("period", show_seconds(plan.period)),
    ]
    if plan.lower_bound:
        found.append(("bound", f"{show_seconds(plan.lower_bound)}, {bound_line(plan)}"))
    found.append(("rows/s", _rate(plan)))
    if run is not None:
        found += [("" if number else "measured", line) for number, line in enumerate(measured_lines(plan, run))]
    for number, one in enumerate(plan.others):
        found.append(("" if number else "others", alternative(one)))
    for number, text in enumerate(frontier_lines(plan)):
        found.append(("" if number else "workers", text))
    if plan.verdict:
        found.append(("verdict", plan.verdict))
    found += [("note", note) for note in plan.notes]
    return found


BOUND_BY = {
    "work": "all work over all workers",
    "chain": "every cut compared",
    "ideals": "every down-set compared",
    "spine": "minimum cuts along a chain of the graph",
    "mixed integer": "a mixed-integer program",
}
"""What proves a bound, in words."""

LINKS = {"chain": "tensors handed from stage to stage", "direct": "tensors sent straight to who reads them"}


def bound_line(plan: Plan) -> str:
    """How near the bound the plan is, what proves it, and for which links."""
    proven = "proven best" if plan.gap <= 1e-9 else f"gap {plan.gap:.1%}"
    how = BOUND_BY.get(plan.bound_by, plan.method)
    return f"{proven}{f' ({how})' * bool(how)}, for {LINKS[plan.links]}"


def frontier_lines(plan: Plan) -> list[str]:
    """What each number of workers brings, and how it can be had with less memory in each, predicted."""
    lines = []
    before: FrontierPoint | None = None
    counts = sorted({one.workers for one in plan.frontier})
    for count, one in zip(counts, fastest(plan.frontier), strict=True):
        line = f"{count}: {one.name}, {show_rate(one.rows_per_second)} rows/s, {show_bytes(one.worker_bytes)} in each"
        if before is one:
            line = f"{count}: none more than {before.workers}"
        elif before is not None:
            line += f" ({one.rows_per_second / before.rows_per_second - 1:+.0%})"
        lines.append(line)
        before = one
    lean = leanest(plan.frontier)[:-1]
    if lean:
        ways = [f"{show_bytes(one.worker_bytes)}: {one.name}, {show_rate(one.rows_per_second)} rows/s" for one in lean]
        lines.append(f"less memory in each of {counts[-1]}: {'; '.join(ways)}")
    return lines


def measured_lines(plan: Plan, run: MeasuredRun) -> list[str]:
    """Each stage's seconds of a micro-batch as measured in a run, beside those that were predicted; then the job."""
    lines = []
    for at, (seen, planned) in enumerate(zip(run.stages, plan.stages, strict=True)):
        off = f" ({seen.seconds / planned.worker_seconds - 1:+.0%})" if planned.seconds else ""
        lines.append(
            f"stage {at}: {show_seconds(seen.seconds)} a micro-batch, "
            f"{show_seconds(planned.worker_seconds)} predicted{off}, "
            f"{seen.workers} worker{'s' * (seen.workers != 1)} busy {seen.busy_share:.0%}"
        )
    if run.rows_per_second:
        off = f" ({run.rows_per_second / plan.rows_per_second - 1:+.0%})" if plan.rows_per_second else ""
        lines.append(
            f"the job: {show_rate(run.rows_per_second)} rows/s with its start, reading and writing, "
            f"{show_rate(plan.rows_per_second)} predicted of the model alone{off}"
        )
    return lines


def alternative(one: Alternative) -> str:
    """One line for another way to use the same workers."""
    how = "measured" if one.measured else "predicted"
    fits = "" if one.fits else ", does not fit"
    return f"{one.name}: {show_rate(one.rows_per_second)} rows/s {how}, {show_bytes(one.worker_bytes)} a worker{fits}"


def plain_lines(plan: Plan) -> list[str]:
    """The plan as aligned text, which other programs can read."""
    return _table(plan).plain_lines()


def show(plan: Plan, stream: TextIO | None = None, run: MeasuredRun | None = None) -> None:
    """Print the plan, with what a run measured: a table where the stream is a terminal, plain text elsewhere."""
    _table(plan, run).show(stream, strong="verdict")


def _table(plan: Plan, run: MeasuredRun | None = None) -> Table:
    return Table(HEADER, stage_rows(plan), facts(plan, run), left=(0, len(HEADER) - 1))


def _rate(plan: Plan) -> str:
    if plan.measured is None:
        return f"{show_rate(plan.rows_per_second)} predicted"
    if plan.measured.name == plan.name:
        return f"{show_rate(plan.measured.rows_per_second)} measured, the stages side by side"
    return f"{show_rate(plan.rows_per_second)} predicted, {show_rate(plan.measured.rows_per_second)} measured"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
