"""A model divided by width (tensor parallelism): shards side by side in every worker, or with workers of their own."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.options.division import Parallelism


def wanted(asked: Parallelism) -> bool:
    """By `--shards`, a saved plan of shards, or the model's annotations."""
    return asked.shards is not None


def default_workers(asked: Parallelism) -> int:
    """Inline, each takes a core a shard; with `auto` as for the whole model."""
    if not isinstance(asked.shards, int):
        return cores()
    return 1 if asked.distributed else max(1, cores() // asked.shards)


def plan(request: Request) -> Execution:
    """Divide the model, save the shards and compare them with the whole model.

    Raises:
        UsageError: no layer can be divided, the shards differ from the whole model, or workers run elsewhere.
    """
    from beamsplit.pipelines.execution.saved_shards import plan_shards

    return plan_shards(request, check_local(request.local, request.job_dir))


def check_local(local: bool, job_dir: str | None) -> str:
    """The job's folder on this machine, in which the shards are saved.

    Raises:
        UsageError: workers run elsewhere.
    """
    if not local or job_dir is None:
        raise UsageError("--shards runs on this machine only so far; leave --runner out, or use Flink on this machine")
    return job_dir
