"""How the model of a job is run: whole, split by depth, divided by width, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.values import Parallelism
from beamsplit.pipelines.report.summary import Summary
from beamsplit.transforms.infer.step import InferStep

if TYPE_CHECKING:
    from beamsplit.models.shard.plan import ShardPlan
    from beamsplit.pipelines.execution.shards import Shards
    from beamsplit.pipelines.execution.stages import Split
    from beamsplit.transforms.infer.model_steps import ModelSteps


@dataclass(frozen=True)
class Divided:
    """A model that runs, and of which parts: with neither `split` nor `shards` it is whole."""

    scoring: ScoringPlan
    batch_size: str
    """Rows of a run, in words."""

    split: Split | None = None
    """Cut into stages, which may be divided over shards themselves."""

    shards: Shards | None = None
    """All of it divided over shards."""

    @property
    def in_parts(self) -> bool:
        """Whether it is not whole."""
        return self.split is not None or self.shards is not None

    @property
    def distributed(self) -> ModelSteps | None:
        """Its steps, where they have workers of their own."""
        made = self.split or self.shards
        return made.distributed if made is not None else None

    @property
    def apart(self) -> bool:
        """Whether its parts have workers of their own."""
        return self.distributed is not None

    @property
    def division(self) -> ShardPlan | None:
        """How it is divided over shards that tell what they did; None where it is not."""
        if self.shards is not None:
            return self.shards.model.plan
        if self.split is None or not self.split.wide or self.split.distributed is None:
            return None
        from beamsplit.models.split.sharded_stages import one_chain

        return one_chain(replace(self.split.model.plan, outputs=self.split.model.outputs))

    @property
    def facts(self) -> dict[str, Any]:
        """In words, for --dry_run_plan and the summary."""
        made = self.split or self.shards
        return dict(made.facts) if made is not None else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        made = self.split or self.shards
        return made.notes if made is not None else ()

    def infer_step(self, request: Request) -> InferStep:
        """The step that runs it, whole or with all parts in one worker."""
        made = self.split or self.shards
        return InferStep(
            self.scoring,
            request.workers.session,
            request.model,
            request.keep,
            request.workers.gpus,
            request.job_dir,
            model=made.model if made is not None and made.distributed is None else None,
        )


def default_workers(parallelism: Parallelism, count: int | None) -> int | None:
    """The workers that were asked for, or how many suit the parts of a model; None leaves it open."""
    if count is not None:
        return count
    if parallelism.by_depth:
        from beamsplit.pipelines.execution.stages import default_workers as workers_of_stages

        return workers_of_stages(parallelism)
    if parallelism.shards is not None:
        from beamsplit.pipelines.execution.shards import default_workers as workers_of_shards

        return workers_of_shards(parallelism)
    return None


def divide(request: Request) -> Divided:
    """Plan what `--stages`, `--plan` and `--shards` ask for, and compare it with the whole model.

    Raises:
        UsageError: the model cannot be divided so, or its parts differ from it.
    """
    scoring = request.scoring
    if request.parallelism.by_depth:
        from beamsplit.pipelines.execution.stages import plan_split

        split = plan_split(request)
        return Divided(split.scoring, f"{split.scoring.batch_size} (a micro-batch)", split=split)
    if request.parallelism.shards is not None:
        from beamsplit.pipelines.execution.shards import plan_shards

        shards = plan_shards(request)
        batch_size = request.batch_size
        if shards.scoring.batch_size != scoring.batch_size:
            batch_size = f"{shards.scoring.batch_size} (a micro-batch)"
        return Divided(shards.scoring, batch_size, shards=shards)
    return Divided(scoring, request.batch_size)


def add_parallel_summary(
    summary: Summary,
    divided: Divided,
    counters: Mapping[str, int],
    inference: Mapping[str, Any],
    replan: str | None = None,
) -> None:
    """Add what each stage or shard did.

    Args:
        summary: of the job; changed.
        divided: its model.
        counters: of the job, by name.
        inference: Beam's inference metrics, by name.
        replan: file for the plan that follows from the measured seconds of the stages.
    """
    rows = inference.get("num_inferences", 0)
    if divided.split is not None and divided.division is None:
        from beamsplit.pipelines.report.stages import after_run

        summary.split = after_run(divided.split, counters, rows, replan)
    division = divided.division
    if division is not None:
        from beamsplit.pipelines.report.shards import after_shards

        summary.shards = after_shards(division, counters, rows)
