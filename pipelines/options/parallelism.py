"""How `--stages`, `--shards`, `--strategy` and `--plan` have the model divided."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.modes import check_parallelism


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
    if asked.strategy is None:
        asked = _with_source(asked, model, updating)
    check_parallelism(asked, of_topic)
    if asked.strategy is not None or not (asked.by_depth or asked.shards is not None):
        return asked
    return replace(asked, placement=asked.placement or "inline")


def _with_source(asked: Parallelism, model: str, updating: bool) -> Parallelism:
    """With a division that is there already; `--shards` then says its number, and `--plan` no longer names it."""
    from beamsplit.pipelines.execution.shard_source import find_source, is_annotated

    if asked.shards == 1 and is_annotated(model):
        return replace(asked, shards=None)
    source = find_source(asked, model, updating)
    if source is None:
        return asked
    return replace(asked, shards=source.shards, plan=None, shard_source=source)
