"""Everything that is found out before a job starts: what is read, how it is bound, what runs where."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.execution.strategy import CannotDivide, settle_strategy
from beamsplit.pipelines.execution.workers import Replicas, choose_worker_type, cores, model_is_most
from beamsplit.pipelines.job.around_model import around_model
from beamsplit.pipelines.job.audit import audit_fact
from beamsplit.pipelines.job.finishing import list_cells
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.job.metrics import metrics_endpoint
from beamsplit.pipelines.job.model import PlannedModel, plan_model
from beamsplit.pipelines.job.versions import check_version
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import rows_fact
from beamsplit.pipelines.resume.kept import Kept, Resumed
from beamsplit.pipelines.resume.with_resumed import with_resumed
from beamsplit.pipelines.sinks.columns import check_columns_written
from beamsplit.pipelines.sinks.find import find_sinks
from beamsplit.pipelines.sinks.json_output import steps_for_format
from beamsplit.pipelines.sinks.sink import Sinks
from beamsplit.pipelines.sources.find import find_source
from beamsplit.pipelines.sources.no_rows import leave_undivided
from beamsplit.pipelines.sources.source import Source
from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.fetch.model_schemes import pinned


def plan_job(options: ScoreOptions, job_dir: str | None = None, local: bool = True, kept: Kept | None = None) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: of the job.
        job_dir: folder that local workers share.
        local: whether workers run on this machine: only then are its cores and GPUs theirs.
        kept: what earlier runs have finished, with `--resume`.

    Raises:
        UsageError: something cannot work; one line with the fix.
        GapFoundError: messages are gone, and `--on_gap` is fail.
    """
    check_version(options.binding.model_version, options.sink.output)
    options = replace(options, binding=replace(options.binding, model=pinned(options.binding.model)))
    source = find_source(options, job_dir, local)
    if options.binding.keep == ("*",):
        options = replace(options, binding=replace(options.binding, keep=source.columns))
    resumed: Resumed | None = None
    if kept is not None:
        resumed, options = kept.go_on(options, source, local)
    sinks = find_sinks(options, source, local)
    source = source.opened()
    sinks.predictions.opened()
    sinks.errors.opened()
    parallelism, unfollowed = drop_unsupported_annotations(options.parallelism, local)
    parallelism, undivided = leave_undivided(parallelism, source)
    settled = settle_strategy(replace(options, parallelism=parallelism), source, local)
    why_so = (*sinks.notes, *source.notes, *unfollowed, *undivided)
    ways, left = [settled, *settled.others], tuple[str, ...]()
    for at, way in enumerate(ways):
        try:
            job = _around(plan_model(way.options, source, job_dir, local), way.options, source, sinks)
            job = replace(job, notes=(*why_so, *left, *way.lines, *job.notes))
            return job if resumed is None else with_resumed(job, resumed)
        except CannotDivide as error:
            if at + 1 == len(ways):
                raise
            left = (*left, f"{way.name} left out: {error}")
    raise AssertionError("there is one way at least")


def _around(planned: PlannedModel, options: ScoreOptions, source: Source, sinks: Sinks) -> Job:
    """The job with what is read, done and written around its model.

    Raises:
        UsageError: something of that cannot work.
    """
    binding, sink, asked = options.binding, options.sink, options.workers
    bound, execution, request = planned.bound, planned.execution, planned.request
    fit, workers = bound.fit, request.workers
    around = around_model(planned.infer, options, bound)
    finish, after_infer = around.finish, around.model.output_schema(bound.prepared)
    beside: list[str] = []
    if execution.overlap is not None and source.sampled:
        from beamsplit.pipelines.execution.side_stages import time_side_stages

        uncounted = replace(planned.infer, counted=False)
        ends = time_side_stages(bound.prepare, uncounted, finish, bound.raw, execution.scoring.batch_size)
        if asked.count is None and request.local:
            workers = replace(workers, count=ends.workers(execution.overlap.period, cores()))
        beside = ends.lines(workers.count)
    source = source.ready(binding, bound, replace(request, workers=workers), execution)
    finish += source.behind
    finish += steps_for_format(sink, chain_schema(finish, after_infer), binding.keep)
    schema = chain_schema(finish, after_infer)
    check_columns_written(sink, schema)
    predictions, fitting = sinks.predictions.ready(schema)
    finish, sinks = finish + fitting, sinks._replace(predictions=predictions)
    worker_type, why = asked.worker_type, ""
    if worker_type is None and (execution.in_parts or not source.sampled):
        worker_type = "process" if execution.is_distributed else "thread"
    if worker_type is None and fit.run_seconds and model_is_most(bound.prepare, bound.raw, fit.run_seconds[0][1]):
        worker_type = "thread"
    if worker_type is None:
        steps = (*bound.prepare, replace(planned.infer, counted=False), *finish)
        worker_type, why = choose_worker_type(
            steps, bound.raw, source.block_rows, workers.count, source.total_rows, asked.run_timeout
        )
    return Job(
        source=source,
        steps=(
            *(("read", step) for step in source.steps),
            *(("prepare", step) for step in bound.prepare),
            ("infer", around.model),
            *(("finish", step) for step in finish),
        ),
        infer=planned.infer,
        execution=execution,
        sinks=sinks,
        schema=schema,
        workers=workers.count,
        worker_type=worker_type,
        asked=asked,
        max_failed=sink.max_failed,
        job_dir=request.job_dir,
        runner=options.runner,
        metrics=metrics_endpoint(options, fit.plan.model.path, request.local),
        updating=bool(options.stream.model_updates),
        columns_read=None if bound.raw is None else bound.raw.schema,
        notes=(*planned.notes, *list_cells(sink.output, schema, fit)),
        facts={
            "model": binding.model,
            **({"updates": options.stream.model_updates} if options.stream.model_updates else {}),
            **source.facts,
            "inputs": execution.scoring.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(schema)],
            **rows_fact(fit),
            **audit_fact(asked.audit, source.total_rows, options.source.where is not None),
            "batch size": execution.batch_size,
            "workers": _workers_fact(source.worker_name(worker_type), workers, asked.partition, why),
            "providers": ", ".join(workers.session.providers),
            **execution.facts,
            **({"side stages": beside} if beside else {}),
            **source.pace,
            **sinks.predictions.facts,
            **source.delivery,
        },
    )


def _workers_fact(kind: str, workers: Replicas, partition: str | None, why: str) -> str:
    threads = workers.session.threads
    dealt = f", rows dealt {partition}" if partition else ""
    return (
        f"{workers.count} {kind}, {threads} thread{'s' * (threads != 1)} a session{dealt}{f' ({why})' if why else ''}"
    )


def user_fields(schema: pa.Schema) -> list[pa.Field]:
    """The columns that a user sees."""
    return [column for column in schema if column.name not in INTERNAL_COLUMNS]
