"""A stream whose model is split by depth, divided by width, or both."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import Fit
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.divided import Divided, divide, splits_by_depth
from beamsplit.pipelines.execution.shard_source import leave_aside
from beamsplit.pipelines.execution.workers import Workers


def check_placement(options: argparse.Namespace, on_prism: bool) -> None:
    """Raise for a division that a stream cannot have.

    Raises:
        UsageError: with what to type.
    """
    if options.placement != "distributed":
        return
    if on_prism:
        raise UsageError(
            "--placement distributed parts stages and shards, and Prism would commit messages before the last of them "
            "has them: a crash would lose some; type --placement inline, or --runner FlinkRunner"
        )
    if options.delivery == "exactly_once":
        raise UsageError(
            "--delivery exactly_once needs the messages of a partition in order, which --placement distributed does "
            "not keep; type --placement inline"
        )


UNLIKE_CHECKPOINTS = ("unaligned_checkpoint_enabled", "num_concurrent_checkpoints", "min_pause_between_checkpoints")
"""Options of Flink with which a checkpoint would not tell that what was read before it has come out."""


def check_checkpoints(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Raise for options of Flink's checkpoints that parts with workers of their own cannot have.

    Args:
        options: what `pipelines.options.score.parse` gave.
        rest: options for Beam.

    Raises:
        UsageError: with what to type.
    """
    given = {option.split("=")[0].removeprefix("--") for option in rest}
    unlike = [name for name in UNLIKE_CHECKPOINTS if name in given]
    if options.placement == "distributed" and unlike:
        raise UsageError(
            f"--{unlike[0]} changes what a checkpoint says of messages between workers, and --placement distributed "
            "commits by that; leave it out, or type --placement inline"
        )


def divide_stream(
    options: argparse.Namespace,
    made: Fit,
    scoring: ScoringPlan,
    batch_size: str,
    workers: Workers,
    schema: pa.Schema,
    job_dir: str | None,
    on_prism: bool,
) -> tuple[Divided, tuple[str, ...]]:
    """(how the model is run, lines on annotations of it that are not followed).

    Plans what `--stages`, `--plan` and `--shards` ask for, and compares it with the whole model.

    Args:
        options: what `pipelines.options.score.parse` gave.
        made: model and sample messages brought together.
        scoring: how the whole model would be run.
        batch_size: of that, in words.
        workers: of the stream.
        schema: of the blocks that reach the model.
        job_dir: folder that workers on this machine share; None where they are elsewhere.
        on_prism: whether it runs on Prism.

    Raises:
        UsageError: the model cannot be divided so, or not on this runner.
    """
    aside = leave_aside(options, job_dir is not None, made.sample is not None)
    if splits_by_depth(options) or options.shards is not None:
        check_placement(options, on_prism)
    # A block has few rows: where it is one run of the whole model, its micro-batches still overlap.
    divided = divide(
        options, made, scoring, batch_size, workers, schema, job_dir, job_dir is not None, at_once=scoring.batch_size
    )
    return divided, aside
