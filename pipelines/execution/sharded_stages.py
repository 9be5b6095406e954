"""A model split by depth and by width: stages, each of which is divided over shards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from beamsplit.pipelines.execution import stages
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.values import Parallelism

if TYPE_CHECKING:
    from beamsplit.models.split.staged import StagedModel


def wanted(asked: Parallelism) -> bool:
    """By both options; a saved plan of stages may say so too, which is seen when it is read."""
    return asked.by_depth and asked.shards is not None


default_workers = stages.default_workers


def plan(request: Request) -> Execution:
    """Plan the stages, or read their plan; save and divide them, and compare them with the whole model.

    Raises:
        UsageError: the plan is not of this model, the model cannot be divided so, or the parts differ from it.
    """
    from beamsplit.pipelines.execution.saved_stages import save_stages

    return plan_saved(*save_stages(request))


def plan_saved(request: Request, model: StagedModel) -> Execution:
    """Divide saved stages and compare them with the whole model.

    Args:
        request: from `saved_stages.save_stages`.
        model: the stages.

    Raises:
        UsageError: no stage can be divided so, the parts differ from the whole model, or workers run elsewhere.
    """
    from beamsplit.models.split.sharded_stages import one_chain
    from beamsplit.pipelines.execution.divided_stages import as_shards, division_lines, placed_apart
    from beamsplit.pipelines.execution.saved_stages import compared, execution_of
    from beamsplit.pipelines.report.shards import ShardsReport

    model = as_shards(request, model)
    checked = compared(request, model)
    steps = placed_apart(request, model) if request.parallelism.distributed else None
    made = execution_of(request, model, checked, steps, {"shards": division_lines(model.plan)})
    if steps is None:
        return made
    # Shards with workers of their own tell what they did, and not their stages.
    return replace(made, summary=ShardsReport(one_chain(replace(model.plan, outputs=model.outputs))))
