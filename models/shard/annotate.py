"""Writes a division into the model: ShardingSpecs of ONNX IR 11, which `annotation` reads back.

What lies how is told of each node on shards: slices of weights and of data with their axis, whole data as replicated
over all devices. Terms of a sum have no word in the standard: a layer whose data and weight are divided along the axis
that it sums over makes them. Trees are no tensor: their node says so in its metadata.
"""

from __future__ import annotations

import onnx_ir as ir

from beamsplit.models.graph.saving import save_alone
from beamsplit.models.shard.annotation import CONFIGURATION, PLAN_KEY, TREES_KEY
from beamsplit.models.shard.placement import Placement, Replicated, Sharded
from beamsplit.models.shard.propagate import Sharding, data_inputs
from beamsplit.models.shard.trees import PLAIN

_LEAST_IR = 11
"""The first with device configurations."""


def annotate(model: ir.Model, sharding: Sharding) -> ir.Model:
    """A copy of the model that carries the division; weights are shared with `model`.

    Args:
        model: as `load_graph` gives it, of the model that was divided.
        sharding: what became of its nodes.
    """
    copy = model.clone()
    copy.ir_version = max(copy.ir_version, _LEAST_IR)
    ours = ir.ModelConfiguration(
        CONFIGURATION, sharding.shards, tuple(f"shard-{shard}" for shard in range(sharding.shards))
    )
    copy.device_configurations = (*(one for one in copy.device_configurations if one.name != CONFIGURATION), ours)
    level = {str(output.name): sharding.levels.get(str(node.name)) for node in copy.graph for output in node.outputs}
    for node in copy.graph:
        kept = tuple(
            one
            for one in node.device_configurations
            if one.configuration is not None and one.configuration.name != CONFIGURATION
        )
        node.metadata_props.pop(TREES_KEY, None)
        trees = _has_divided_trees(node, sharding)
        if trees:
            node.metadata_props[TREES_KEY] = "trees"
        specs = _specs(node, sharding, level, trees)
        if specs:
            kept += (ir.NodeDeviceConfiguration(ours, specs),)
        node.device_configurations = kept
    # A plan of stages that was in the model gives way to this division.
    copy.metadata_props.pop(PLAN_KEY, None)
    return copy


def save_annotated(model: ir.Model, sharding: Sharding, path: str) -> None:
    """Write the model of `load_graph` with the division in it to one file, its weights beside it where they are large.

    Raises:
        UsageError: the file cannot be written.
    """
    save_alone(annotate(model, sharding), path)


def _has_divided_trees(node: ir.Node, sharding: Sharding) -> bool:
    """Whether this node, or one that `plain_ensembles` made of it, is an ensemble whose trees are divided."""
    name = str(node.name)
    return node.domain == "ai.onnx.ml" and any(
        decision.trees
        for made, decision in sharding.decisions.items()
        if made == name or made.startswith(f"{name}{PLAIN}")
    )


def _specs(node: ir.Node, sharding: Sharding, level: dict[str, int | None], trees: bool) -> tuple[ir.ShardingSpec, ...]:
    name = str(node.name)
    decision = sharding.decisions.get(name)
    if decision is None and not trees:
        return ()
    found: dict[ir.Value, Placement] = {}
    data = set(data_inputs(node, sharding.constants))
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        tensor = str(value.name)
        if decision is not None and position in decision.slices:
            part = decision.slices[position]
            # Several parts that are cut each have no word in the standard: the node's output tells.
            if not part.sections:
                found[value] = Sharded(part.axis, part.pieces)
        elif tensor in data:
            # What was joined before this node comes to it whole.
            used = level.get(tensor) == sharding.levels.get(name) and tensor in sharding.placements
            found[value] = sharding.placements[tensor] if used else Replicated()
    for value in node.outputs:
        if decision is not None and value.name in decision.outputs:
            found[value] = decision.outputs[str(value.name)]
    specs = (_spec(value, placement, sharding.shards) for value, placement in found.items())
    return tuple(spec for spec in specs if spec is not None)


def _spec(value: ir.Value, placement: Placement, shards: int) -> ir.ShardingSpec | None:
    every = tuple(range(shards))
    if isinstance(placement, Replicated):
        return ir.ShardingSpec(value, (-1,), (ir.IndexToDeviceGroupMapEntry(-1, every),))
    if not isinstance(placement, Sharded):
        return None
    parts = [ir.SimpleShardedDim(sum(placement.pieces), shards)]
    if placement.outer != 1:
        parts.insert(0, ir.SimpleShardedDim(num_shards=1))
    return ir.ShardingSpec(value, every, (), (ir.ShardedDim(placement.axis, tuple(parts)),))
