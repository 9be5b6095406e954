"""What every way of running the model is planned from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa

from beamsplit.models.fitting.fit import ALL_RUNS, Fit
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.workers import Replicas
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import WorkerOptions

PARTS_RUNS = 50
"""Runs of a micro-batch that planning parts takes where they are measured, about: a profile, up to three rounds in
which parts are timed, and the comparison with the whole model."""


@dataclass(frozen=True)
class Request:
    """A model that is bound to its data, and where it is to run."""

    model: str
    """Its path, as the user names it."""

    fit: Fit
    """Model and sample rows brought together."""

    scoring: ScoringPlan
    """How the whole model would be run."""

    batch_size: str
    """Rows of a run of it, in words."""

    workers: Replicas
    """Of the job."""

    schema: pa.Schema
    """Of the blocks that reach the model."""

    keep: tuple[str, ...] = ()
    """Columns that are copied to the output."""

    job_dir: str | None = None
    """Folder of the job on this machine; None where its workers are elsewhere."""

    local: bool = True
    """Whether workers run on this machine."""

    rows_at_once: int | None = None
    """Rows that one worker has at once, where they are known."""

    parallelism: Parallelism = field(default_factory=Parallelism)
    """How the model is to be divided."""

    asked: WorkerOptions = field(default_factory=WorkerOptions)
    """What was said of the workers."""

    compare: bool = False
    """Whether the other ways are measured too, for what is shown."""

    planning: PlanningBudget = UNLIMITED
    """What runs of the model may take before the job begins."""

    def measures(self, rows: int) -> bool:
        """Whether the budget is for measuring parts on so many rows at a time, beside fitting the model."""
        return measures_parts(self.planning, self.fit, rows)

    @property
    def planned_session(self) -> SessionOptions:
        """Of a stage, as it is planned: one thread, unless threads were asked for."""
        return replace(self.workers.session, threads=self.asked.threads or 1)


def measures_parts(planning: PlanningBudget, fit: Fit, rows: int) -> bool:
    """Whether a budget is for measuring parts of a model on so many rows at a time, beside fitting it."""
    return not fit.run_seconds or planning.allows(ALL_RUNS + PARTS_RUNS * rows, fit.run_seconds[0][1])
