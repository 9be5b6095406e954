"""What crosses between the steps of a divided model when each runs elsewhere, and how it lies in memory."""

from __future__ import annotations

from collections.abc import Callable

from beamsplit.models.running.boundary import Layout, find_layouts
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.shard.sharded import ShardedSession
from beamsplit.models.shard.step_models import part_name
from beamsplit.models.values.tensors import Array


def crossing(plan: ShardPlan) -> list[tuple[str, ...]]:
    """For each step the tensors that are there before it and are read by it or later, or are outputs of the model.

    A shard's part of a tensor is called `TENSOR@shardK`.
    """
    made = [
        {part_name(name, shard) for name in step.outputs for shard in range(plan.shards)}
        if step.sharded
        else {*step.outputs}
        for step in plan.steps
    ]
    ever = set().union(*made)
    there = dict.fromkeys(name for step in plan.steps for name in step.inputs if name not in ever)
    cuts = []
    for at in range(len(plan.steps)):
        needed = {*plan.outputs}.union(*(step.inputs for step in plan.steps[at:]))
        cuts.append(tuple(name for name in there if name in needed))
        there |= dict.fromkeys(sorted(made[at]))
    return cuts


def shard_layouts(
    session: ShardedSession,
    take: Callable[[Array], dict[str, Array]],
    *,
    fixed: bool,
    quantised: bool = False,
    unlike: bool = True,
) -> list[tuple[Layout, ...]]:
    """For each step how the tensors lie that cross the cut before it; arguments as of `find_layouts`."""
    cuts = crossing(session.model.plan)
    names = {name for cut in cuts for name in cut}
    dtypes: dict[str, str] = {}
    for step, sessions in zip(session.model.plan.steps, session.sessions, strict=True):
        for shard, one in enumerate(sessions):
            dtypes |= {spec.name: spec.dtype for spec in one.signature.inputs}
            dtypes |= {
                part_name(spec.name, shard) if step.sharded else spec.name: spec.dtype for spec in one.signature.outputs
            }
    wanted = {name: dtypes[name] for name in names}
    found = find_layouts(session.tensors, take, wanted, fixed=fixed, quantised=quantised, unlike=unlike)
    return [tuple(found[name] for name in cut) for cut in cuts]
