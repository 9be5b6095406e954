"""What of `--stages`, `--shards`, `--strategy` and `--plan` goes together."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import Parallelism

OF_PARTS = ("placement", "micro_batch", "stage_memory", "stage_providers", "replan")
"""Options of a model that is not whole."""


def checked_parallelism(asked: Parallelism, model: str, of_topic: bool, updating: bool) -> Parallelism:
    """How the model is to be divided, with a division that is there already: a plan of shards, or annotations.

    Args:
        asked: as it was typed.
        model: path of the model, whose annotations are followed.
        of_topic: whether a topic is read.
        updating: whether new models take over while the job runs, which follow no annotations.

    Raises:
        UsageError: options of a division without one, or some that do not go together.
    """
    if asked.strategy is not None:
        _check_strategy(asked, of_topic)
        return asked
    asked = _with_source(asked, model, updating)
    if asked.shards is not None:
        _check_shards(asked, of_topic)
    elif not asked.by_depth:
        given = [name for name in OF_PARTS if getattr(asked, name) is not None]
        if given:
            raise UsageError(f"--{given[0]} is for a model split by depth; add --stages N, or --plan plan.json")
        return asked
    if asked.plan is not None and asked.stage_memory is not None:
        raise UsageError("--stage_memory is for planning, and --plan names a plan; leave one of them out")
    return replace(asked, placement=asked.placement or "inline")


def _check_strategy(asked: Parallelism, of_topic: bool) -> None:
    given = ("stages", "shards", "plan", "stage_providers", "replan")
    both = [name for name in given if getattr(asked, name) is not None]
    if both:
        raise UsageError(f"--strategy chooses how to split, and --{both[0]} says how; leave one of them out")
    if of_topic:
        raise UsageError("--strategy times sample rows, which a topic does not give beforehand; leave it out")


def _with_source(asked: Parallelism, model: str, updating: bool) -> Parallelism:
    """With a division that is there already; `--shards` then says its number, and `--plan` no longer names it."""
    from beamsplit.pipelines.execution.shard_source import find_source, is_annotated

    if asked.shards == 1 and is_annotated(model):
        return replace(asked, shards=None)
    source = find_source(asked, model, updating)
    if source is None:
        return asked
    return replace(asked, shards=source.shards, plan=None, shard_source=source)


def _check_shards(asked: Parallelism, of_topic: bool) -> None:
    auto = asked.shards == "auto"
    if isinstance(asked.shards, int) and asked.shards < 2:
        raise UsageError(f"--shards {asked.shards} divides nothing; give 2 or more, or leave it out")
    deep = [name for name in ("stages", "plan") if getattr(asked, name) is not None]
    if auto and deep:
        raise UsageError(f"--shards auto looks at the whole model, and --{deep[0]} cuts it; give a number of shards")
    if auto and of_topic:
        raise UsageError("--shards auto times sample rows, which a topic does not give beforehand; give a number")
    if asked.stage_memory is not None and not auto and not deep:
        raise UsageError(f"--stage_memory is for --shards auto, and --shards is {asked.shards}; leave one out")
    depth = [name for name in ("stage_providers", "replan") if getattr(asked, name) is not None]
    if depth:
        raise UsageError(f"--{depth[0]} is for a model split by depth, and --shards divides it by width; leave it out")
