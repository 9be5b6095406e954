"""The stages of a model cut by depth: planned, saved, and compared with the whole model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from beamsplit.models.cost.cluster import ClusterWorker, limit_memory, read_cluster
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import quantises_at_run, varies_with_data
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.boundary import Layout
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import SessionOptions, drop_session, resolve_providers
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.shard.sharded import ShardedSession
from beamsplit.models.split import stage as stage_files
from beamsplit.models.split.chain import StageChain, check_chain, check_same, still_parts, tolerance_of
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.micro_batch import PER_STAGE
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.planner import make_plan
from beamsplit.models.split.profiled import quick_profile
from beamsplit.models.split.replan import plan_again
from beamsplit.models.split.saved_files import check_saved, without_hashes
from beamsplit.models.split.sharded_stages import shards_of
from beamsplit.models.split.staged import StagedModel, boundary_layouts, whole_layouts
from beamsplit.models.split.worker import share_workers
from beamsplit.pipelines.execution.execution import Execution, Overlap
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.saved_plan import saved_plan
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.sample_feeds import check_distributable, feeds_at, graph_feeds, sample_feeds
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.report.stages import StagesReport, placed, planned_lines
from beamsplit.transforms.block import COPY
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.model_steps import ModelSteps


def save_stages(request: Request) -> tuple[Request, StagedModel]:
    """Plan the stages, or read their plan, and save them.

    Returns:
        The request with the rows of a micro-batch as batch size, and the stages, which may be divided over shards yet.

    Raises:
        UsageError: the plan is not of this model, or the model cannot be cut so.
    """
    asked, scoring = request.parallelism, request.scoring
    _check_copies(asked, scoring, request.schema)
    check_distributable(scoring, asked.placement)
    if asked.plan is not None:
        plan, planned_in = saved_plan(asked, asked.plan, request.model, scoring)
    else:
        plan, planned_in = _made_plan(request), None
    blocks = blocks_of(scoring.model.rewrites)
    micro_batch = 1 if scoring.row_by_row else asked.micro_batch or plan.micro_batch
    if blocks is not None:
        micro_batch = blocks.rows
    planned = shards_of(plan)
    if planned > 1 and asked.shards not in (None, planned):
        raise UsageError(
            f"--plan {asked.plan} divides its stages over {planned} shards and --shards says {asked.shards}; "
            "leave --shards out"
        )
    plan, folder = _saved(plan, planned_in, request)
    outputs = tuple(spec.name for spec in request.fit.session.signature.outputs)
    sessions = _sessions(request, plan)
    threads = tuple(_stage_workers(request, plan, sessions))
    request = replace(request, scoring=replace(scoring, batch_size=micro_batch))
    return request, StagedModel(plan, folder, outputs, sessions, threads)


def _check_copies(asked: Parallelism, scoring: ScoringPlan, schema: pa.Schema) -> None:
    if asked.distributed and scoring.row_by_row and COPY in schema.names:
        raise UsageError(
            "--placement distributed sends rows of this model one by one, but the copies that augment makes must stay "
            "together; type --placement inline"
        )


def _made_plan(request: Request) -> Plan:
    scoring, asked = request.scoring, request.parallelism
    wanted = asked.stages if isinstance(asked.stages, int) else None
    rows = _micro_batch(asked, scoring, wanted or 2, request.rows_at_once)
    workers = limit_memory(read_cluster(str(max(cores(), wanted or 1))), asked.stage_memory)
    run = SampleRun(scoring.model, graph_feeds(request.fit, scoring, rows), request.planned_session, rows)
    if not request.measures(rows):
        return _quick_plan(run, wanted, workers, rows * request.fit.run_seconds[0][1])
    return make_plan(
        run,
        wanted,
        workers,
        # Measuring the other ways costs seconds, which pay where there is something to decide.
        timed="all" if request.compare or asked.stages == "auto" else "stages",
    )


def _quick_plan(run: SampleRun, wanted: int | None, workers: Sequence[ClusterWorker], seconds: float) -> Plan:
    """The plan of a model that takes too long for the job that it is planned for to be measured part by part."""
    graph = split_graph(load_graph(run.model_file))
    plan = make_plan(run, wanted, workers, timed="nothing", graph=graph, profile=quick_profile(graph, run, seconds))
    why = "to measure the stages takes longer than planning may (--plan_seconds 60 gives it more time)"
    return replace(plan, notes=(*plan.notes, why))


def _micro_batch(asked: Parallelism, scoring: ScoringPlan, stages: int, at_once: int | None) -> int:
    """Rows of a micro-batch: those that a run of the whole model takes, or fewer so that the stages overlap."""
    blocks = blocks_of(scoring.model.rewrites)
    if blocks is not None:
        return blocks.rows
    if scoring.row_by_row:
        return 1
    if asked.micro_batch is not None:
        return asked.micro_batch
    if at_once is None:
        return scoring.batch_size
    return max(1, min(scoring.batch_size, at_once // (PER_STAGE * stages)))


def _saved(plan: Plan, folder: str | None, request: Request) -> tuple[Plan, str]:
    """The plan with its stages' files, and their folder; `folder` is that of the plan's file, where there is one."""
    if folder is not None and all(_there(folder, stage.file) for stage in plan.stages):
        if "://" not in folder:
            check_saved(plan, folder, str(request.parallelism.plan))
        return plan, folder
    if not request.local or request.job_dir is None:
        raise UsageError(
            "workers on other machines need the stages' files: save them where all can read with "
            "python -m pipelines.plan --save_stages gs://.../stages, and name that folder's plan.json with --plan"
        )
    into = os.path.join(request.job_dir, "stages")
    return stage_files.save_stages(load_graph(request.scoring.model), without_hashes(plan), into), into


def _there(folder: str, file: str | None) -> bool:
    if file is None:
        return False
    if "://" in folder:
        return True
    return os.path.isfile(os.path.join(folder, file))


def _sessions(request: Request, plan: Plan) -> tuple[SessionOptions, ...]:
    count, workers, inline = len(plan.stages), request.workers, request.parallelism.placement == "inline"
    given = request.parallelism.stage_providers
    if given is not None:
        if len(given) != count:
            raise UsageError(
                f"--stage_providers names {len(given)} stages and the plan has {count}; name one a stage, "
                f"e.g. --stage_providers {','.join(['cpu'] * count)}"
            )
        found = [(resolve_providers(name), device) for name, device in given]
    elif inline and workers.gpus:
        found = [(workers.session.providers, stage % workers.gpus) for stage in range(count)]
    else:
        found = [(workers.session.providers, None)] * count
    threads = request.asked.threads or (1 if inline else workers.session.threads)
    return tuple(
        replace(workers.session, providers=names, threads=threads, device=None if names[0] == CPU else device or 0)
        for names, device in found
    )


def _stage_workers(request: Request, plan: Plan, sessions: Sequence[SessionOptions]) -> list[int]:
    """Threads that run each stage inline: those of the plan, or more of them where cores are left."""
    planned = [stage.replicas for stage in plan.stages]
    if any(session.providers[0] != CPU for session in sessions):
        return planned
    processes = request.workers.count if request.asked.worker_type == "process" else 1
    shards = request.parallelism.shards
    total = cores() // processes // sessions[0].threads // (shards if isinstance(shards, int) else 1)
    if sum(planned) >= total:
        return planned
    return share_workers([stage.seconds or 1.0 for stage in plan.stages], total)


def compared(request: Request, model: StagedModel) -> tuple[list[str], list[tuple[Layout, ...]]]:
    """(how far the stages are from the whole model, of each cut how the tensors that cross it lie).

    Args:
        request: from `save_stages`.
        model: with its shards, where stages are divided.

    Raises:
        UsageError: they differ from it.
    """
    made, scoring = request.fit, request.scoring
    here = model.fetched(localize)
    # Workers of their own open the stages anew.
    passing = request.parallelism.distributed and made.session.options.mapped
    here = here.mapped if passing else here
    sessions = [here.open_stage(at) for at in range(len(here.sessions))]
    feeds = sample_feeds(made, scoring, scoring.batch_size)
    path = scoring.model.path
    tolerance = tolerance_of(path) if model.shards else None
    chain = StageChain(sessions, replace(model.plan, outputs=model.outputs))
    if model.shards:
        of, fix = "the stages' shards do", "leave --shards out"
        check = check_same(made.session, chain, feeds, tolerance, of=of, fix=fix)
    else:
        check = check_chain(made.session, chain, feeds, tolerance)
    # Rows are found in what is the same in each run.
    twins = [still_parts(session) for session in sessions]
    if scoring.batch_size == 1 and not request.measures(1):
        # Rows that run one by one are never taken apart.
        layouts = whole_layouts(twins, model.outputs)
    else:
        layouts = boundary_layouts(
            twins,
            model.outputs,
            lambda rows: feeds_at(made, scoring, rows),
            fixed=all(None not in bound.row_shape for bound in scoring.binding.inputs) and not varies_with_data(path),
            quantised=quantises_at_run(path),
            unlike=made.sample is not None and made.sample.num_rows >= SAMPLE_RUN_ROWS,
        )
    for one in [*sessions] * passing + [twin for twin in twins if twin not in sessions]:
        one.drop() if isinstance(one, ShardedSession) else drop_session(one)
    return [f"stages beside the whole model: {line}" for line in check.lines], layouts


def execution_of(
    request: Request,
    model: StagedModel,
    checked: tuple[list[str], list[tuple[Layout, ...]]],
    distributed: ModelSteps | None,
    more: Mapping[str, Any] | None = None,
) -> Execution:
    """How saved stages run, once they are compared and placed; the whole model's session is dropped.

    Args:
        request: from `save_stages`.
        model: the stages.
        checked: from `compared`.
        distributed: their steps, where they have workers of their own.
        more: facts of how the stages are divided.
    """
    asked, made, scoring = request.parallelism, request.fit, request.scoring
    lines, layouts = checked
    # What checked it is no longer needed: a job that splits a model may not have the memory for it twice.
    drop_session(made.session)
    plan = model.plan
    rows = 1 if scoring.row_by_row else plan.micro_batch
    feeds = graph_feeds(made, scoring, rows) if asked.replan else {}
    again = _Replan(SampleRun(scoring.model, feeds, request.planned_session, plan.micro_batch), asked.stage_memory)
    return Execution(
        scoring,
        f"{scoring.batch_size} (a micro-batch)",
        None if distributed is not None else model,
        distributed,
        Overlap(len(plan.stages), model.period) if distributed is None else None,
        facts={
            "stages": planned_lines(model, layouts),
            **(more or {}),
            "placement": placed(str(asked.placement), plan),
            **({"verdict": plan.verdict} if plan.verdict else {}),
        },
        notes=(*plan.notes, *lines),
        summary=StagesReport(model, scoring.model.path, again, distributed is not None),
    )


@dataclass(frozen=True)
class _Replan:
    """A plan by the measured seconds of each stage, for so many workers; holds nothing of the whole model's session."""

    run: SampleRun
    memory: float | None
    """Most bytes that a stage may take; None for any."""

    def __call__(self, plan: Plan, seconds: Sequence[float], count: int) -> Plan:
        return plan_again(plan, seconds, self.run, workers=count, stage_memory=self.memory)
