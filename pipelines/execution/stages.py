"""A model split by depth (pipeline parallelism): stages that overlap in every worker, or have workers of their own."""

from __future__ import annotations

from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.options.division import Parallelism


def wanted(asked: Parallelism) -> bool:
    """By `--stages`, or a `--plan` of stages."""
    return asked.by_depth


def default_workers(asked: Parallelism) -> int:
    """Inline, two workers are enough to read and write while the stages run, which have threads of their own."""
    return 1 if asked.distributed else min(2, cores())


def plan(request: Request) -> Execution:
    """Plan the stages, or read their plan; save them and compare them with the whole model.

    Raises:
        UsageError: the plan is not of this model, the model cannot be cut so, or the stages differ from it.
    """
    from beamsplit.models.split.sharded_stages import shards_of
    from beamsplit.pipelines.execution.saved_stages import compared, execution_of, save_stages
    from beamsplit.transforms.infer.model_steps import StepContext, stage_steps

    request, model = save_stages(request)
    if shards_of(model.plan) > 1:
        # As the plan says that was saved.
        from beamsplit.pipelines.execution.divided_stages import plan_saved

        return plan_saved(request, model)
    checked = compared(request, model)
    if not request.parallelism.distributed:
        return execution_of(request, model, checked, None)
    context = StepContext(request.scoring, request.schema, request.keep, request.workers.gpus, request.job_dir)
    return execution_of(request, model, checked, stage_steps(model, checked[1], context))
