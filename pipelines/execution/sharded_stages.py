"""A model split by depth and by width: stages, each of which is divided over shards."""

from __future__ import annotations

from beamsplit.pipelines.execution import stages
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.division import Parallelism


def wanted(asked: Parallelism) -> bool:
    """By both options; a saved plan of stages may say so too, which is seen when it is read."""
    return asked.by_depth and asked.shards is not None


default_workers = stages.default_workers


def plan(request: Request) -> Execution:
    """Plan the stages, or read their plan; save and divide them, and compare them with the whole model.

    Raises:
        UsageError: the plan is not of this model, the model cannot be divided so, or the parts differ from it.
    """
    from beamsplit.pipelines.execution.divided_stages import plan_saved
    from beamsplit.pipelines.execution.saved_stages import save_stages

    return plan_saved(*save_stages(request))
