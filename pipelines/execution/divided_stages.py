"""Saved stages that are divided over shards: made, timed, and placed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.running.session import drop_session, get_session
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession, get_sharded
from beamsplit.models.shard.timing import time_in_turn, time_steps
from beamsplit.models.split.plan import Plan, StagePlan
from beamsplit.models.split.sharded_stages import divide_stages, one_chain, sharded_stages, shards_of
from beamsplit.models.split.staged import StagedModel, tensors_of
from beamsplit.models.values.tensors import Array
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.saved_stages import compared, execution_of
from beamsplit.pipelines.execution.shard_placement import placed
from beamsplit.pipelines.job.sample_feeds import graph_feeds
from beamsplit.pipelines.report.shards import ShardsReport

if TYPE_CHECKING:
    from beamsplit.transforms.infer.model_steps import ModelSteps


BUDGET_SECONDS = 0.3
"""For the timed runs of one stage as shards, about."""


def plan_saved(request: Request, model: StagedModel) -> Execution:
    """Divide saved stages and compare them with the whole model.

    Args:
        request: from `saved_stages.save_stages`.
        model: the stages.

    Raises:
        UsageError: no stage can be divided so, the parts differ from the whole model, or workers run elsewhere.
    """
    model = as_shards(request, model)
    checked = compared(request, model)
    steps = distributed_steps(request, model) if request.parallelism.distributed else None
    made = execution_of(request, model, checked, steps, {"shards": division_lines(model.plan)})
    if steps is None:
        return made
    # Shards with workers of their own tell what they did, and not their stages.
    return replace(made, summary=ShardsReport(one_chain(replace(model.plan, outputs=model.outputs))))


def as_shards(request: Request, model: StagedModel) -> StagedModel:
    """The same model with its stages run as shards: divided now, or as its plan has them.

    Args:
        request: from `saved_stages.save_stages`.
        model: its stages are saved on this machine.

    Raises:
        UsageError: no stage can be divided so, or workers run elsewhere.
    """
    made, scoring, job_dir, shards = request.fit, request.scoring, request.job_dir, request.parallelism.shards
    if job_dir is None or "://" in model.folder:
        raise UsageError("stages are divided over shards on this machine only so far; leave --shards out")
    # Whole stages run here only to tell what their shards read.
    elsewhere = request.parallelism.distributed and made.session.options.mapped
    opened = model.mapped.sessions if made.session.options.mapped else model.sessions
    sessions = [get_session(model.stage_file(at), each) for at, each in enumerate(opened)]
    for at, session in enumerate(sessions):
        model.check_names(at, session)
    signatures = [session.signature for session in sessions]
    tensors = tensors_of(sessions, graph_feeds(made, scoring, scoring.batch_size))
    plan = model.plan
    undivided = shards_of(plan) == 1
    rows = 1 if scoring.row_by_row else SAMPLE_RUN_ROWS
    few = tensors_of(sessions, graph_feeds(made, scoring, rows)) if undivided else {}
    for session in sessions:
        drop_session(session)
    del sessions
    if undivided:
        assert isinstance(shards, int), "somebody asks for shards"
        own = os.path.join(job_dir, "stages")
        keep = os.path.abspath(model.folder) != own
        model = _in_own_folder(model, own)
        # What the job made itself nobody needs any more once it is divided.
        plan, kept = divide_stages(plan, model.folder, few, shards, keep)
        plan = replace(plan, notes=(*plan.notes, *kept))
    lost = [file for one in plan.stages if one.shards for step in one.shards.steps for file in step.files]
    lost = [file for file in lost if not os.path.isfile(os.path.join(model.folder, file))]
    if lost:
        raise UsageError(
            f"the plan's file {lost[0]} is not in {model.folder}: make it again with python -m pipelines.plan --stages "
            f"{len(plan.stages)} --shards {shards_of(plan)} --save_stages {model.folder}"
        )
    divided = sharded_stages(plan, model.folder, model.sessions, signatures)
    return replace(model, plan=_timed(plan, divided, tensors, elsewhere), shards=divided)


def _timed(plan: Plan, divided: Sequence[ShardedModel | None], tensors: dict[str, Array], distributed: bool) -> Plan:
    """The plan with what its stages take as shards, which run elsewhere if they are distributed, else stay open."""

    def seconds(stage: StagePlan, model: ShardedModel) -> float:
        feeds = {name: tensors[name] for name in stage.inputs}
        if distributed:
            return sum(time_in_turn(model, feeds, BUDGET_SECONDS))
        return sum(time_steps(get_sharded(model), feeds, BUDGET_SECONDS))

    stages = tuple(
        stage if one is None else replace(stage, seconds=seconds(stage, one))
        for stage, one in zip(plan.stages, divided, strict=True)
    )
    period = max(stage.seconds / stage.replicas for stage in stages)
    return replace(plan, stages=stages, period=period, lower_bound=min(plan.lower_bound, period))


def _in_own_folder(model: StagedModel, folder: str) -> StagedModel:
    """The stages' files in the job's folder: shards go beside them, and not into a folder of the user's."""
    if os.path.abspath(model.folder) == os.path.abspath(folder):
        return model
    os.makedirs(folder)
    for stage in model.plan.stages:
        for name in (str(stage.file), f"{stage.file}.data"):
            if os.path.isfile(os.path.join(model.folder, name)):
                shutil.copyfile(os.path.join(model.folder, name), os.path.join(folder, name))
    return replace(model, folder=folder)


def distributed_steps(request: Request, model: StagedModel) -> ModelSteps:
    """The steps of all stages with workers of their own; the sessions of this process are dropped.

    Raises:
        UsageError: the job has augmented copies, which shards cannot keep together.
    """
    chain = one_chain(replace(model.plan, outputs=model.outputs))
    made, workers = request.fit, request.workers
    session = replace(workers.session, threads=request.asked.threads or workers.session.threads, device=None)
    whole = replace(session, device=workers.session.device)
    together = ShardedModel(chain, model.folder, (session,) * chain.shards, whole, made.session.signature)
    checked = together.mapped if made.session.options.mapped else together
    steps = placed(request, together, ShardedSession(checked))
    if not made.session.options.mapped:
        for one in model.shards:
            if one is not None:
                get_sharded(one).drop()
    return steps


def division_lines(plan: Plan) -> list[str]:
    """Of each stage, in words, how it is divided."""
    return [
        f"{stage.index}: {line}" if stage.shards is not None else f"{stage.index}: whole"
        for stage in plan.stages
        for line in (stage.shards.lines[:2] if stage.shards is not None else ("",))
    ]
