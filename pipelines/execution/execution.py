"""How the model of a job is run: what every way gives, and all that a job needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from beamsplit.models.running.runs import RunnableModel
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.report.summary import Summary
from beamsplit.transforms.infer.fetched_model import with_digest
from beamsplit.transforms.infer.step import InferStep

if TYPE_CHECKING:
    from beamsplit.transforms.infer.model_steps import ModelSteps

AfterRun: TypeAlias = Callable[[Mapping[str, int], int, "str | None"], Mapping[str, dict[str, Any]]]
"""(counters of a job, rows that the model ran on, file for a better plan) -> what its parts did.

By the names in `Summary.parts`.
"""


def nothing_to_tell(counters: Mapping[str, int], rows: int, replan: str | None) -> Mapping[str, dict[str, Any]]:
    """Of a model that is whole."""
    return {}


@dataclass(frozen=True)
class Overlap:
    """Stages that overlap in every worker."""

    stages: int
    period: float
    """Seconds between two micro-batches as planned; 0 where that is not known."""


@dataclass(frozen=True)
class Execution:
    """A way to run the model, planned and compared with the whole model."""

    scoring: ScoringPlan
    """With the rows of a run, or of a micro-batch, as batch size."""

    batch_size: str
    """Rows of a run, in words."""

    model: RunnableModel | None = None
    """The parts that every worker runs; None where it runs the whole model, or a part of its own."""

    distributed: ModelSteps | None = None
    """The model's steps where these have workers of their own."""

    overlap: Overlap | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """In words, for --dry_run_plan and the summary."""

    notes: tuple[str, ...] = ()
    """Lines for the user."""

    summary: AfterRun = nothing_to_tell

    @property
    def in_parts(self) -> bool:
        """Whether it is not whole."""
        return self.model is not None or self.distributed is not None

    @property
    def is_distributed(self) -> bool:
        """Whether its parts have workers of their own."""
        return self.distributed is not None

    def infer_step(self, request: Request) -> InferStep:
        """The step that runs it, whole or with all parts in one worker."""
        workers = request.workers
        return InferStep(
            self.scoring,
            workers.session,
            with_digest(request.model, self.scoring.model.path),
            request.keep,
            workers.gpus,
            request.job_dir,
            model=self.model,
        )


def add_parallel_summary(
    summary: Summary,
    execution: Execution,
    counters: Mapping[str, int],
    inference: Mapping[str, Any],
    replan: str | None = None,
) -> None:
    """Add what each stage or shard did.

    Args:
        summary: of the job; changed.
        execution: of its model.
        counters: of the job, by name.
        inference: Beam's inference metrics, by name.
        replan: file for the plan that follows from the measured seconds of the stages.
    """
    summary.parts |= execution.summary(counters, inference.get("num_inferences", 0), replan)
