"""A division by width as a table on the terminal, or as plain text: its layers, joins, shards, and what stays whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from beamsplit.models.shard.plan import ShardPlan
from beamsplit.pipelines.report.table import Table
from beamsplit.pipelines.report.units import show_bytes

HEADER = ("layer", "operator", "weights", "step", "divided by", "each shard makes")

LEFT = (0, 1, 4, 5)
"""Columns that begin at the left."""

MOST_WHOLE = 20
"""Layers that stay whole are named one by one up to so many."""

_HOW = {"concat": "put side by side", "sum": "summed", "sizes": "made whole sizes"}


def layer_rows(plan: ShardPlan) -> list[tuple[str, ...]]:
    """The cells of each divided layer, under `HEADER`."""
    return [
        (layer.node, layer.op_type, show_bytes(layer.weight_bytes), str(layer.step), layer.how, f"{layer.makes} of it")
        for layer in plan.layers
    ]


def joins(plan: ShardPlan) -> list[str]:
    """A line for each time that the shards' results meet."""
    lines = []
    for step in sorted({join.step for join in plan.joins}):
        here = [f"{join.tensor} {_HOW[join.how]}" for join in plan.joins if join.step == step]
        more = f" and {len(here) - 4} more" if len(here) > 4 else ""
        lines.append(f"after step {step}: {', '.join(here[:4])}{more}")
    return lines


def whole(plan: ShardPlan) -> list[str]:
    """A line for each layer that stays whole, the largest first, with the reason."""
    lines = [f"{one.node} ({show_bytes(one.weight_bytes)}): {one.why}" for one in plan.kept_whole[:MOST_WHOLE]]
    rest = plan.kept_whole[MOST_WHOLE:]
    if rest:
        lines.append(f"{len(rest)} smaller layers ({show_bytes(sum(one.weight_bytes for one in rest))})")
    return lines or ["no layer with weights that matter"]


def shards(plan: ShardPlan) -> list[str]:
    """A line a shard, and one for what every join's worker holds."""
    names = plan.devices or tuple(f"shard {shard}" for shard in range(plan.shards))
    lines = [f"{name}: {show_bytes(plan.shard_bytes(shard))} of weights" for shard, name in enumerate(names)]
    steps = sum(not stage.sharded for stage in plan.steps)
    return [*lines, f"whole: {show_bytes(plan.whole_bytes)} in {steps} step{'s' * (steps != 1)}"]


def steps(plan: ShardPlan) -> list[tuple[str, str]]:
    """(which workers run it, bytes of weights that each of them holds) of each step."""
    found = []
    for stage in plan.steps:
        where = f"{plan.shards} shards side by side" if stage.sharded else "whole"
        sizes = list(dict.fromkeys(show_bytes(size) for size in stage.weight_bytes))
        found.append((where, sizes[0] if len(sizes) == 1 else f"{sizes[-1]} to {sizes[0]}"))
    return found


def facts(plan: ShardPlan) -> list[tuple[str, str]]:
    """(name, text) of what is known of the plan as a whole; a name is empty where a line goes on."""
    share = plan.sharded_bytes / plan.weight_bytes if plan.weight_bytes else 0.0
    divided = f"{show_bytes(plan.sharded_bytes)} of {show_bytes(plan.weight_bytes)} of weights ({share:.0%})"
    by = f", as annotated ({plan.configuration!r})" if plan.configuration else ""
    found = [("model", f"{plan.model}, {divided} over {plan.shards} shards{by}")]
    steps = f"{plan.meetings}, in {len(plan.steps)} steps"
    for name, lines in (("memory", shards(plan)), ("joins", [steps, *joins(plan)]), ("whole", whole(plan))):
        found += [(name if number == 0 else "", line) for number, line in enumerate(lines)]
    return found


def table(plan: ShardPlan, more: Sequence[tuple[str, str]] = ()) -> Table:
    """All of it, with more facts below."""
    return Table(HEADER, layer_rows(plan), [*facts(plan), *more], left=LEFT)


def show(plan: ShardPlan, more: Sequence[tuple[str, str]] = (), stream: TextIO | None = None) -> None:
    """Print the division, with more facts below it."""
    table(plan, more).show(stream, strong="verdict")
