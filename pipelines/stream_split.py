"""A stream whose model is split by depth, divided by width, or both."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from models.errors import UsageError
from models.fit import Fit
from models.scoring import ScoringPlan
from pipelines.shard_source import leave_aside
from pipelines.workers import Workers

if TYPE_CHECKING:
    from models.shard.sharded import ShardedModel
    from models.split.staged import StagedModel
    from pipelines.shard_job import Shards
    from pipelines.split_job import Split


@dataclass(frozen=True)
class Divided:
    """How the model of a stream is run."""

    scoring: ScoringPlan
    split: Split | None = None
    shards: Shards | None = None
    aside: tuple[str, ...] = ()
    """Lines on annotations of the model that are not followed."""

    @property
    def staged(self) -> StagedModel | None:
        """The stages that each worker runs itself."""
        return self.split.model if self.split is not None and not self.split.apart else None

    @property
    def sharded(self) -> ShardedModel | None:
        """The shards that each worker runs itself."""
        return self.shards.model if self.shards is not None else None

    @property
    def facts(self) -> dict[str, Any]:
        """In words, for --dry_run_plan and the summary."""
        made = self.split or self.shards
        return dict(made.facts) if made is not None else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        made = self.split or self.shards
        return (*self.aside, *(made.notes if made is not None else ()))


def check_placement(options: argparse.Namespace, on_prism: bool) -> None:
    """Raise for a division that a stream cannot have.

    Raises:
        UsageError: with what to type.
    """
    if options.placement != "distributed":
        return
    if options.shards is not None:
        raise UsageError(
            "--placement distributed brings the results of shards together by the end of the input, which a stream "
            "does not have; type --placement inline, or --stages in place of --shards"
        )
    if on_prism:
        raise UsageError(
            "--placement distributed parts the stages, and Prism would commit messages before the last stage has them: "
            "a crash would lose some; type --placement inline, or --runner FlinkRunner"
        )
    if options.delivery == "exactly_once":
        raise UsageError(
            "--delivery exactly_once needs the messages of a partition in order, which --placement distributed does "
            "not keep; type --placement inline"
        )


def divide_stream(
    options: argparse.Namespace,
    made: Fit,
    scoring: ScoringPlan,
    workers: Workers,
    schema: pa.Schema,
    job_dir: str | None,
    on_prism: bool,
) -> Divided:
    """Plan what `--stages`, `--plan` and `--shards` ask for, and compare it with the whole model.

    Args:
        options: what `pipelines.options.parse` gave.
        made: model and sample messages brought together.
        scoring: how the whole model would be run.
        workers: of the stream.
        schema: of the blocks that reach the model.
        job_dir: folder that workers on this machine share; None where they are elsewhere.
        on_prism: whether it runs on Prism.

    Raises:
        UsageError: the model cannot be divided so, or not on this runner.
    """
    aside = leave_aside(options, job_dir is not None, made.sample is not None)
    deep = options.stages is not None or options.plan is not None
    if not deep and options.shards is None:
        return Divided(scoring, aside=aside)
    check_placement(options, on_prism)
    if deep:
        from pipelines.split_job import plan_split

        # A block has few rows: where it is one run of the whole model, its micro-batches still overlap.
        split = plan_split(
            options, made, scoring, workers, schema, job_dir, job_dir is not None, at_once=scoring.batch_size
        )
        return Divided(split.scoring, split)
    from pipelines.shard_job import check_local, plan_shards

    shards = plan_shards(options, made, scoring, workers, schema, check_local(job_dir is not None, job_dir))
    return Divided(shards.scoring, shards=shards)
