"""The shards of a model divided by width: planned or found, saved, compared with the whole model, and placed."""

from __future__ import annotations

import os
from dataclasses import replace

from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.running.session import SessionOptions, drop_session
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession, get_sharded
from beamsplit.models.split.chain import check_same, tolerance_of
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_count import shard_sessions
from beamsplit.pipelines.execution.shard_placement import placed
from beamsplit.pipelines.execution.shard_source import divided
from beamsplit.pipelines.job.sample_feeds import check_distributable, graph_feeds, sample_feeds
from beamsplit.pipelines.report.shards import ShardsReport


def plan_shards(request: Request, job_dir: str) -> Execution:
    """Divide the model, save the shards and compare them with the whole model.

    Args:
        request: what the model is planned from.
        job_dir: folder of the job on this machine.

    Raises:
        UsageError: no layer can be divided, or the shards differ from the whole model.
    """
    asked, made, scoring = request.parallelism, request.fit, request.scoring
    assert isinstance(asked.shards, int), "auto is settled"
    if asked.micro_batch is not None and not scoring.row_by_row:
        scoring = replace(scoring, batch_size=asked.micro_batch)
    check_distributable(scoring, asked.placement)
    # Rows that run one by one are compared so where planning may not take longer.
    one = scoring.row_by_row or (scoring.batch_size == 1 and not request.measures(1))
    few = 1 if one else SAMPLE_RUN_ROWS
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
        steps = placed(replace(request, scoring=scoring), model, session)
    # What checked it is no longer needed: a job that divides a model may not have the memory for it twice.
    drop_session(made.session)
    kind = (
        f"inline: every worker runs all {plan.shards} shards, side by side"
        if not asked.distributed
        else f"distributed: workers of their own for each of {plan.shards} shards, and for the whole steps"
    )
    same = scoring.batch_size == request.scoring.batch_size
    return Execution(
        scoring,
        request.batch_size if same else f"{scoring.batch_size} (a micro-batch)",
        None if steps is not None else model,
        steps,
        facts={"shards": list(plan.lines), "placement": kind, "check": checked},
        notes=source.notes if source is not None else (),
        summary=ShardsReport(plan),
    )


def _sessions(request: Request, shards: int) -> tuple[tuple[SessionOptions, ...], SessionOptions]:
    """Options of each shard's sessions, and of whole steps."""
    workers, threads = request.workers, request.asked.threads
    if not request.parallelism.distributed:
        return shard_sessions(workers, threads, shards, workers.session.threads)
    session = replace(workers.session, threads=threads or workers.session.threads, device=None)
    return (session,) * shards, replace(session, device=workers.session.device)


def _checked(session: ShardedSession, fit: Fit, scoring: ScoringPlan, few: int) -> list[str]:
    """How far the shards are from the whole model, at the micro-batch's rows and at the few it was divided on."""
    tolerance = tolerance_of(scoring.model.path)
    lines: list[str] = []
    for rows in dict.fromkeys([few, scoring.batch_size]):
        check = check_same(
            fit.session,
            session,
            sample_feeds(fit, scoring, rows),
            tolerance,
            of="the shards do",
            fix="leave --shards out, or use --stages",
        )
        lines = [f"shards beside the whole model: {line}" for line in check.lines]
    return lines
