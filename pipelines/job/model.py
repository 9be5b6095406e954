"""The middle of a job: its rows brought together with the model, and how the model is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.fitting.replacement import CHECK_ROWS
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.pipelines.execution.batch_size import known_batch_size, with_batch_size
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.execution.shards import check_local
from beamsplit.pipelines.execution.strategy import trying
from beamsplit.pipelines.execution.ways import default_workers, plan_execution
from beamsplit.pipelines.execution.workers import count_workers, planning_budget
from beamsplit.pipelines.job.audit import with_audit
from beamsplit.pipelines.job.columns import check_outputs
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.source import Source
from beamsplit.transforms.infer.step import InferStep

WARM_BYTES = 1 << 18
"""Of rows that workers score before their first block."""


@dataclass(frozen=True)
class PlannedModel:
    """A model that runs on the rows of a source."""

    bound: Bound
    request: Request
    execution: Execution
    infer: InferStep
    notes: tuple[str, ...]
    """Lines for the user."""


def plan_model(options: ScoreOptions, source: Source, job_dir: str | None, local: bool) -> PlannedModel:
    """Bring model and rows together, and decide how it is run.

    Args:
        options: of the job; a strategy has been settled.
        source: of the rows.
        job_dir: folder of the job on this machine.
        local: whether workers run on this machine.

    Raises:
        CannotDivide: the model cannot be divided as a strategy says.
        UsageError: something else cannot work.
    """
    binding, asked, parallelism = options.binding, options.workers, options.parallelism
    workers = source.workers(asked, parallelism, local)
    budget = planning_budget(asked, lambda: source.total_rows)
    bound = source.within(budget).bind(binding, options.sink, workers.session, parallelism.in_parts)
    parallelism, unfollowed = drop_unsupported_annotations(parallelism, local, bound.fit.sample is not None)
    source.check_parallelism(parallelism)
    check_outputs(binding.keep, [output.name for output in bound.fit.plan.outputs])
    scoring, batch_size = with_batch_size(bound.fit, known_batch_size(parallelism, asked.batch_size, bound.fit))
    request = Request(
        model=binding.model,
        fit=bound.fit,
        scoring=scoring,
        batch_size=batch_size,
        workers=workers,
        schema=bound.prepared,
        keep=binding.keep,
        job_dir=job_dir,
        local=local,
        parallelism=parallelism,
        asked=asked,
        compare=options.watching.dry_run_plan,
        planning=budget,
    )
    notes = (*unfollowed, *bound.fit.notes)
    if parallelism.shards == "auto":
        request, line = _with_shards(request)
        notes = (*notes, line)
    request = replace(request, rows_at_once=source.rows_at_once(request.scoring, request.workers.count))
    with trying(request.parallelism, job_dir):
        execution = plan_execution(request)
    infer = with_audit(
        asked.audit, execution.infer_step(request), bound.fit, execution.is_distributed, source.total_rows
    )
    if options.watching.metrics is not None and not execution.is_distributed:
        # /ready says that rows are scored at once.
        infer = replace(infer, warm=pack_rows(bound.fit.sample, min(CHECK_ROWS, scoring.batch_size), WARM_BYTES))
    return PlannedModel(bound, request, execution, infer, (*notes, *execution.notes))


def _with_shards(request: Request) -> tuple[Request, str]:
    """`--shards auto` settled, and why."""
    from beamsplit.pipelines.execution.shard_count import Whole, choose_shards
    from beamsplit.pipelines.job.sample_feeds import sample_feeds

    parallelism, asked, scoring = request.parallelism, request.asked, request.scoring
    job_dir = check_local(request.local, request.job_dir)
    rows = 1 if scoring.row_by_row else parallelism.micro_batch or scoring.batch_size
    few = 1 if scoring.row_by_row else SAMPLE_RUN_ROWS
    whole = Whole(scoring.model, request.fit.session, partial(sample_feeds, request.fit, scoring), rows, few)
    chosen = choose_shards(whole, request.workers, asked, parallelism, job_dir)
    shards = chosen.shards if chosen.shards > 1 else None
    parallelism = replace(parallelism, shards=shards, shard_source=chosen.source)
    line = f"--shards auto: {chosen.line}"
    if shards is not None:
        workers = count_workers(replace(asked, count=default_workers(parallelism, asked.count)), local=True)
        return replace(request, parallelism=parallelism, workers=workers), line
    if parallelism.micro_batch is not None and not scoring.row_by_row:
        scoring = replace(scoring, batch_size=parallelism.micro_batch)
    return replace(request, parallelism=parallelism, scoring=scoring), line
