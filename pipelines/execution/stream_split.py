"""A stream whose model is split by depth, divided by width, or both."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.division import Parallelism


def check_placement(asked: Parallelism, delivery: str | None, on_prism: bool) -> None:
    """Raise for a division that a stream cannot have.

    Raises:
        UsageError: with what to type.
    """
    if not (asked.distributed and on_prism):
        return
    if delivery == "exactly_once":
        raise UsageError(
            "--placement distributed gives stages and shards workers of their own, and those of Prism are threads of "
            "one process, which would hold all weights; type --placement inline, or --runner FlinkRunner"
        )
    raise UsageError(
        "--placement distributed parts stages and shards, and Prism would commit messages before the last of them "
        "has them: a crash would lose some; type --placement inline, or --runner FlinkRunner"
    )


UNLIKE_CHECKPOINTS = ("unaligned_checkpoint_enabled", "num_concurrent_checkpoints", "min_pause_between_checkpoints")
"""Options of Flink with which a checkpoint would not tell that what was read before it has come out."""


def check_checkpoints(asked: Parallelism, beam_args: Sequence[str]) -> None:
    """Raise for options of Flink's checkpoints that parts with workers of their own cannot have.

    Args:
        asked: how the model is to be divided.
        beam_args: options for Beam.

    Raises:
        UsageError: with what to type.
    """
    given = {option.split("=")[0].removeprefix("--") for option in beam_args}
    unlike = [name for name in UNLIKE_CHECKPOINTS if name in given]
    if asked.distributed and unlike:
        raise UsageError(
            f"--{unlike[0]} changes what a checkpoint says of messages between workers, and --placement distributed "
            "commits by that; leave it out, or type --placement inline"
        )
