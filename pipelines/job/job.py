"""A job that can run: source, steps, execution, sinks.

options
   |
plan_job -> Job(source, steps, execution, sinks) -> wire -> run -> Summary
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.options.values import RunnerOptions, WorkerOptions
from beamsplit.pipelines.report.summary import plan_lines
from beamsplit.pipelines.sinks.sink import Sinks
from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.step import Step

if TYPE_CHECKING:
    from beamsplit.pipelines.resume.kept import Resumed
    from beamsplit.pipelines.sources.source import Source
    from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint


@dataclass(frozen=True)
class Job:
    """A job that can run: every name, type, shape, file and topic has been checked."""

    source: Source
    steps: tuple[tuple[str, Step], ...]
    """(stage, step) of all that is done to a block, the stage one of `read`, `prepare`, `infer` and `finish`."""

    infer: InferStep
    """The one among them that runs the model."""

    execution: Execution
    """How the model is run."""

    sinks: Sinks
    schema: pa.Schema
    """Of the blocks that are written."""

    workers: int
    worker_type: str
    asked: WorkerOptions
    """What was said of the workers: how rows are dealt to them."""

    max_failed: FailureLimit | None = None
    """How many rows may fail; None for any."""

    job_dir: str | None = None
    """Folder that local workers share."""

    runner: RunnerOptions = field(default_factory=RunnerOptions)
    metrics: MetricsEndpoint | None = None
    """Where processes show what they count; None where that is not asked for."""

    resumed: Resumed | None = None
    """What earlier runs have finished, with `--resume`."""

    updating: bool = False
    """Whether new models are watched for."""

    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """The plan in words, for --dry_run_plan and the summary."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Tells this run of it from others: in what it writes, and in lineage."""

    columns_read: pa.Schema | None = None
    """Of the rows as they are read, where that is known beforehand."""

    def lines(self) -> list[str]:
        """The plan as text."""
        return plan_lines(self.facts, self.notes)
