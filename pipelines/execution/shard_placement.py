"""Shards with workers of their own: how what crosses lies in memory, and the steps."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.graph.model_file import quantises_at_run, varies_with_data
from beamsplit.models.shard.crossing import shard_layouts
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.job.sample_feeds import feeds_at
from beamsplit.transforms.block import COPY
from beamsplit.transforms.infer.model_steps import ModelSteps, StepContext, shard_steps


def placed(request: Request, model: ShardedModel, session: ShardedSession) -> ModelSteps:
    """The steps of a divided model, whose sessions in this process are dropped.

    Args:
        request: what the model is planned from, with the rows of a micro-batch as batch size.
        model: as its workers run it.
        session: of this process; its weights may lie elsewhere.

    Raises:
        UsageError: the job has augmented copies, which shards cannot keep together.
    """
    made, scoring, schema = request.fit, request.scoring, request.schema
    if COPY in schema.names:
        raise UsageError("--placement distributed may part the copies that augment makes; type --placement inline")
    path = scoring.model.path
    # Rows are found in what is the same in each run.
    twin = session.still()
    layouts = shard_layouts(
        twin,
        lambda rows: feeds_at(made, scoring, rows),
        fixed=all(None not in bound.row_shape for bound in scoring.binding.inputs) and not varies_with_data(path),
        quantised=quantises_at_run(path),
        unlike=made.sample is not None and made.sample.num_rows >= SAMPLE_RUN_ROWS,
    )
    for one in {id(one): one for one in (session, twin)}.values():
        one.drop()
    context = StepContext(scoring, schema, request.keep, request.workers.gpus, request.job_dir)
    return shard_steps(model, layouts, context)
