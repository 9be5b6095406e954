"""What is said of a model split by depth: before a job its stages, after it what they did beside what was planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import data_hash
from beamsplit.models.running.boundary import Layout
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.split.inline import DIFFERS, differs
from beamsplit.models.split.measured_stages import MeasuredStages, as_data, better_plan, full_seconds, measured_in
from beamsplit.models.split.plan import Plan, to_json
from beamsplit.models.split.saved_files import without_files
from beamsplit.models.split.staged import StagedModel, staged_workers
from beamsplit.pipelines.report.units import show_bytes, show_seconds
from beamsplit.transforms.write.storage import open_output


def planned_lines(model: StagedModel, layouts: Sequence[Sequence[Layout]]) -> list[str]:
    """A line a stage, before the job runs."""
    lines = []
    for stage, options, threads in zip(model.plan.stages, model.sessions, model.workers, strict=True):
        seconds = f", {show_seconds(stage.seconds)} a micro-batch" if stage.seconds else ""
        crossing = [f"{one.name} ({one.kind})" for one in layouts[stage.index]] if stage.index < len(layouts) else []
        shown = ", ".join(crossing[:4]) + (f" and {len(crossing) - 4} more" if len(crossing) > 4 else "")
        device = f":{options.device}" if options.device is not None else ""
        lines.append(
            f"{stage.index}: {len(stage.nodes)} nodes, {show_bytes(stage.weight_bytes)} of weights{seconds}, "
            f"{threads} worker{'s' * (threads != 1)} on {options.providers[0]}{device}"
            + (f"; passes on {shown}" if shown else "")
        )
    return lines


def placed(placement: str, plan: Plan) -> str:
    """Where stages run, and what is predicted of it."""
    about = f", micro-batches of {plan.micro_batch} planned"
    if plan.period:
        about += f", {plan.rows_per_second:,.0f} rows/s predicted ({plan.source})"
    kind = "inline: every worker runs all stages" if placement == "inline" else "distributed: a worker a stage"
    return kind + about


@dataclass(frozen=True)
class StagesReport:
    """What the stages did, for the summary; writes the better plan where one is asked for."""

    model: StagedModel
    file: str
    """Path of the whole model."""

    again: Callable[[Plan, Sequence[float], int], Plan]
    """A plan by the measured seconds of each stage, for so many workers."""

    distributed: bool
    """Whether each stage has workers of its own."""

    def __call__(self, counters: Mapping[str, int], rows: int, replan: str | None) -> Mapping[str, dict[str, Any]]:
        """Of so many rows.

        Args:
            counters: of the job, by name.
            rows: that came through.
            replan: file for the better plan; None for none.
        """
        plan = self.model.plan
        seen = measured_in(counters, len(plan.stages), rows)
        workers = [stage.replicas for stage in plan.stages] if self.distributed else staged_workers(self.model)
        told = stage_lines(plan, seen, workers)
        if replan is not None and all(stage.runs for stage in seen.stages):
            # Stages are cut anew, whatever files the plan that ran had.
            better = without_files(self._better(seen, workers))
            better = replace(better, data_hash=data_hash(self.file))
            with open_output(replan) as file:
                file.write(to_json(better).encode())
            told.append(f"replan   {replan}: {better.rows_per_second:,.0f} rows/s predicted ({better.method})")
        return {"split": {**as_data(plan, seen, workers), "lines": told}}

    def _better(self, seen: MeasuredStages, workers: Sequence[int]) -> Plan:
        """Cut anew where the model can be profiled; else the same stages with measured seconds."""
        plan = self.model.plan
        try:
            return self.again(plan, full_seconds(plan, seen), sum(workers))
        except (UsageError, ModelRunError):
            # The plan in hand came from elsewhere, e.g. from an estimate.
            return better_plan(plan, seen, workers)


def stage_lines(plan: Plan, seen: MeasuredStages, workers: Sequence[int]) -> list[str]:
    """What the user reads at the end."""
    if not all(stage.runs for stage in seen.stages):
        return ["stages   nothing ran through all of them"]
    found = []
    fill = seen.fill(plan.micro_batch)
    for stage, planned, count in zip(seen.stages, plan.stages, workers, strict=True):
        said = f" ({show_seconds(planned.seconds * fill)} planned)" if planned.seconds else ""
        depth = f", {seen.queue_depth(stage.stage):.1f} waiting" if seen.active_seconds else ""
        found.append(
            f"stage {stage.stage}  {show_seconds(stage.seconds)} a micro-batch{said}, busy {stage.busy_share:.0%} of "
            f"{count} worker{'s' * (count != 1)}{depth}"
        )
    measured = max(stage.seconds / count for stage, count in zip(seen.stages, workers, strict=True))
    period = plan.period * fill
    against = f", {show_seconds(period)} planned ({measured / period - 1:+.0%})" if period else ""
    rows = f", {seen.rows / seen.stages[-1].runs:,.0f} rows a micro-batch" if seen.rows else ""
    found.append(
        f"bubbles  {seen.bubble_share:.0%} of the workers' time; busiest stage {show_seconds(measured)}{against}{rows}"
    )
    better = better_plan(plan, seen, workers)
    replicas = [stage.replicas for stage in better.stages]
    if differs([stage.seconds for stage in plan.stages], [stage.seconds for stage in seen.stages]):
        change = "other cuts may be better" if replicas == list(workers) else f"{', '.join(map(str, replicas))} workers"
        found.append(
            f"better   stage times are over {DIFFERS:.0%} off: {change}; --replan FILE plans by those measured"
        )
    return found
