"""The whole model in every worker: replicas, which take the rows among them (data parallelism)."""

from __future__ import annotations

from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.division import Parallelism


def wanted(asked: Parallelism) -> bool:
    """Where nothing else is."""
    return True


def default_workers(asked: Parallelism) -> int | None:
    """One a core or GPU."""
    return None


def plan(request: Request) -> Execution:
    """As the model and the data were brought together."""
    return Execution(request.scoring, request.batch_size)
