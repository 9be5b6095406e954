"""A job whose model is divided by width: the shards are made, saved, checked and placed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.running.session import SessionOptions, drop_session
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession, get_sharded
from beamsplit.models.split.chain import check_same, tolerance_of
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_count import shard_sessions
from beamsplit.pipelines.execution.shard_source import divided
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.sample_feeds import check_apart, graph_feeds, sample_feeds
from beamsplit.pipelines.options.values import Parallelism

if TYPE_CHECKING:
    from beamsplit.transforms.infer.model_steps import ModelSteps


@dataclass(frozen=True)
class Shards:
    """A division that runs."""

    model: ShardedModel
    scoring: ScoringPlan
    """With the rows of a micro-batch as batch size."""

    distributed: ModelSteps | None
    """The steps where each shard has workers of its own; None where every worker runs all shards."""

    facts: dict[str, str | list[str]]
    """The division in words, for --dry_run_plan and the summary."""

    notes: tuple[str, ...] = ()


def default_workers(parallelism: Parallelism) -> int:
    """Workers where the user left it open: inline, each takes a core a shard; with `auto` for the whole model."""
    if not isinstance(parallelism.shards, int):
        return cores()
    return 1 if parallelism.distributed else max(1, cores() // parallelism.shards)


def plan_shards(request: Request) -> Shards:
    """Divide the model, save the shards and compare them with the whole model.

    Raises:
        UsageError: no layer can be divided, the shards differ from the whole model, or workers run elsewhere.
    """
    job_dir = check_local(request.local, request.job_dir)
    asked, made, scoring = request.parallelism, request.fit, request.scoring
    assert isinstance(asked.shards, int), "auto is settled"
    if asked.micro_batch is not None and not scoring.row_by_row:
        scoring = replace(scoring, batch_size=asked.micro_batch)
    check_apart(scoring, asked.placement)
    few = 1 if scoring.row_by_row else SAMPLE_RUN_ROWS
    source = asked.shard_source
    plan, folder = divided(
        source,
        scoring.model,
        lambda: graph_feeds(made, scoring, few),
        asked.shards,
        os.path.join(job_dir, "shards"),
    )
    model = ShardedModel(plan, folder, *_sessions(request, asked.shards), made.session.signature)
    if not asked.distributed:
        session = get_sharded(model)
    else:
        # This process runs the shards only to check them.
        session = ShardedSession(model.mapped if made.session.options.mapped else model)
    checked = _checked(session, made, scoring, few)
    session.take_stats()  # Of the check, which is no part of the job.
    steps = None
    if asked.distributed:
        from beamsplit.pipelines.execution.shard_placement import placed

        steps = placed(replace(request, scoring=scoring), model, session)
    # What checked it is no longer needed: a job that divides a model may not have the memory for it twice.
    drop_session(made.session)
    kind = (
        f"inline: every worker runs all {plan.shards} shards, side by side"
        if not asked.distributed
        else f"distributed: workers of their own for each of {plan.shards} shards, and for the whole steps"
    )
    facts: dict[str, str | list[str]] = {"shards": list(plan.lines), "placement": kind, "check": checked}
    return Shards(model, scoring, steps, facts, source.notes if source is not None else ())


def _sessions(request: Request, shards: int) -> tuple[tuple[SessionOptions, ...], SessionOptions]:
    """Options of each shard's sessions, and of whole steps."""
    workers, threads = request.workers, request.asked.threads
    if not request.parallelism.distributed:
        return shard_sessions(workers, threads, shards, workers.session.threads)
    session = replace(workers.session, threads=threads or workers.session.threads, device=None)
    return (session,) * shards, replace(session, device=workers.session.device)


def _checked(session: ShardedSession, made: Fit, scoring: ScoringPlan, few: int) -> list[str]:
    """How far the shards are from the whole model, at the micro-batch's rows and at the few it was divided on."""
    tolerance = tolerance_of(scoring.model.path)
    lines: list[str] = []
    for rows in dict.fromkeys([few, scoring.batch_size]):
        check = check_same(
            made.session,
            session,
            sample_feeds(made, scoring, rows),
            tolerance,
            of="the shards do",
            fix="leave --shards out, or use --stages",
        )
        lines = [f"shards beside the whole model: {line}" for line in check.lines]
    return lines


def check_local(local: bool, job_dir: str | None) -> str:
    """The job's folder on this machine, in which the shards are saved.

    Raises:
        UsageError: workers run elsewhere.
    """
    if not local or job_dir is None:
        raise UsageError("--shards runs on this machine only so far; leave --runner out, or use Flink on this machine")
    return job_dir
