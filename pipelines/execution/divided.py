"""How the model of a job is run: whole, split by depth, divided by width, or both."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.fitting.fit import Fit
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.workers import Workers
from beamsplit.pipelines.report.summary import Summary
from beamsplit.transforms.infer.step import InferStep

if TYPE_CHECKING:
    from beamsplit.models.shard.plan import ShardPlan
    from beamsplit.pipelines.execution.shards import Shards
    from beamsplit.pipelines.execution.stages import Split
    from beamsplit.transforms.infer.shard_step import ShardSteps
    from beamsplit.transforms.infer.stage_step import StageStep


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
    def apart(self) -> bool:
        """Whether its parts have workers of their own."""
        return bool(self.stage_steps) or self.shard_steps is not None

    @property
    def stage_steps(self) -> tuple[StageStep, ...]:
        """A step a stage, where stages have workers of their own."""
        return self.split.steps if self.split is not None else ()

    @property
    def shard_steps(self) -> ShardSteps | None:
        """The steps of shards, those of stages included, where they have workers of their own."""
        made = self.shards or self.split
        return made.shard_steps if made is not None else None

    @property
    def division(self) -> ShardPlan | None:
        """How it is divided over shards that tell what they did; None where it is not."""
        if self.shards is not None:
            return self.shards.model.plan
        if self.split is None or self.split.shard_steps is None:
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

    def infer_step(self, options: argparse.Namespace, workers: Workers, job_dir: str | None) -> InferStep:
        """The step that runs it, whole or with all parts in one worker."""
        return InferStep(
            self.scoring,
            workers.session,
            options.model,
            options.keep,
            workers.gpus,
            job_dir,
            staged=self.split.model if self.split is not None and not self.apart else None,
            sharded=self.shards.model if self.shards is not None and not self.apart else None,
        )


def splits_by_depth(options: argparse.Namespace) -> bool:
    """Whether `--stages` or `--plan` cut the model."""
    return options.stages is not None or options.plan is not None


def runs_in_parts(options: argparse.Namespace) -> bool:
    """Whether it is known that no worker runs the whole model: this process runs it to plan and to check."""
    return splits_by_depth(options) or options.shards not in (None, "auto")


def default_workers(options: argparse.Namespace) -> int | None:
    """`--workers`, or how many suit the parts of a model; None leaves it open."""
    if splits_by_depth(options):
        from beamsplit.pipelines.execution.stages import default_workers as workers_of_stages

        return workers_of_stages(options)
    if options.shards is not None:
        from beamsplit.pipelines.execution.shards import default_workers as workers_of_shards

        return workers_of_shards(options)
    return int(options.workers) if options.workers is not None else None


def divide(
    options: argparse.Namespace,
    made: Fit,
    scoring: ScoringPlan,
    batch_size: str,
    workers: Workers,
    schema: pa.Schema,
    job_dir: str | None,
    local: bool,
    at_once: int | None = None,
) -> Divided:
    """Plan what `--stages`, `--plan` and `--shards` ask for, and compare it with the whole model.

    Args:
        options: what `pipelines.options.score.parse` gave.
        made: model and sample rows brought together.
        scoring: how the whole model would be run.
        batch_size: of that, in words.
        workers: of the job.
        schema: of the blocks that reach the model.
        job_dir: folder of the job on this machine.
        local: whether workers run on this machine.
        at_once: rows that one worker has at once, where they are known.

    Raises:
        UsageError: the model cannot be divided so, or its parts differ from it.
    """
    if splits_by_depth(options):
        from beamsplit.pipelines.execution.stages import plan_split

        split = plan_split(options, made, scoring, workers, schema, job_dir, local, at_once)
        return Divided(split.scoring, f"{split.scoring.batch_size} (a micro-batch)", split=split)
    if options.shards is not None:
        from beamsplit.pipelines.execution.shards import check_local, plan_shards

        shards = plan_shards(options, made, scoring, workers, schema, check_local(local, job_dir))
        if shards.scoring.batch_size != scoring.batch_size:
            batch_size = f"{shards.scoring.batch_size} (a micro-batch)"
        return Divided(shards.scoring, batch_size, shards=shards)
    return Divided(scoring, batch_size)


def tell_of_parts(
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
    if divided.split is not None and divided.split.shard_steps is None:
        from beamsplit.pipelines.report.stages import after_run

        summary.split = after_run(divided.split, counters, rows, replan)
    division = divided.division
    if division is not None:
        from beamsplit.pipelines.report.shards import after_shards

        summary.shards = after_shards(division, counters, rows)
