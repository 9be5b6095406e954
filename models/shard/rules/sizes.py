"""Shapes that are computed on a shard from its own slices, and operators that cut or put together along an axis."""

from __future__ import annotations

from math import gcd

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext
from beamsplit.models.shard.placement import Placement, Replicated, Sharded, ShardingOrigin, Sizes
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.rules.shape import given, integers, numbers

_LARGEST = 2**31 - 1
"""From here on ends of backward steps are the beginning to ONNX Runtime, and the end to the standard."""


def shape_of(node: ir.Node, context: RuleContext) -> Decision | None:
    """Shape of a slice: whole sizes but for the split axis."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None:
        return None
    every = list(range(len(shape)))[node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)]
    if placement.axis in every and placement.outer != 1:
        return None
    positions = [(every.index(placement.axis), placement.pieces)] if placement.axis in every else []
    return Decision({str(node.outputs[0].name): Sizes(tuple(positions))})


def slice_data(node: ir.Node, context: RuleContext) -> Decision | None:
    """Sizes with constant bounds; data that is cut on other axes than the split's."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if shape is None:
        return None
    starts, ends, axes, steps = (
        integers(node, name, at) for at, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    name = str(node.outputs[0].name)
    if given(node, "axes", 3) and axes is None:
        return None
    if isinstance(placement, Sizes):
        if starts is None or ends is None or len(starts) != 1 or (given(node, "steps", 4) and steps is None):
            return None
        if steps and steps[0] < 0 and ends[0] >= _LARGEST:
            return None
        kept = list(range(shape[0]))[slice(starts[0], ends[0], steps[0] if steps else 1)]
        return Decision({name: _picked(placement, kept)})
    if not isinstance(placement, Sharded):
        return None
    first = len(starts) if starts is not None else len(shape)
    cut = {axis % len(shape) for axis in axes} if axes else set(range(first))
    return None if placement.axis in cut else Decision({name: placement})


def _picked(placement: Sizes, kept: list[int]) -> Sizes:
    own = dict(placement.positions)
    return Sizes(tuple((new, own[old]) for new, old in enumerate(kept) if old in own))


def gather_sizes(node: ir.Node, context: RuleContext) -> Decision | None:
    """Some of the sizes, by constant positions."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    chosen = numbers(node.inputs[1])
    if not isinstance(placement, Sizes) or shape is None or chosen is None:
        return None
    return Decision({str(node.outputs[0].name): _picked(placement, [position % shape[0] for position in chosen])})


def same_sizes(node: ir.Node, context: RuleContext) -> Decision | None:
    """Cast, Squeeze and Unsqueeze of sizes; a scalar counts as a vector of one."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.outputs[0])
    if not isinstance(placement, Sizes) or shape is None or len(shape) > 1:
        return None
    return Decision({str(node.outputs[0].name): placement})


def concat(node: ir.Node, context: RuleContext) -> Decision | None:
    """Sizes behind one another; tensors that are split alike on another axis."""
    placements = [context.placement(value) for value in node.inputs]
    name = str(node.outputs[0].name)
    if any(isinstance(placement, Sizes) for placement in placements):
        positions, at = [], 0
        for value, placement in zip(node.inputs, placements, strict=True):
            shape = context.shape(value)
            if shape is None or len(shape) != 1 or not isinstance(placement, (Sizes, Replicated)):
                return None
            if isinstance(placement, Sizes):
                positions += [(at + position, pieces) for position, pieces in placement.positions]
            at += shape[0]
        return Decision({name: Sizes(tuple(positions))})
    shape = context.shape(node.inputs[0])
    splits = [placement for placement in placements if isinstance(placement, Sharded)]
    if shape is None or len(splits) != len(placements) or len({split.axis for split in splits}) != 1:
        return None
    first = splits[0]
    if first.axis == (node.attributes.get_int("axis", 0) or 0) % len(shape):
        return None
    origins = first.origins
    for other in splits[1:]:
        if sum(other.pieces) != sum(first.pieces):
            return None
        origins |= context.agree(first, other)
    return Decision({name: Sharded(first.axis, first.pieces, origins)})


def split(node: ir.Node, context: RuleContext) -> Decision | None:
    """Split: into the parts that are cut each, as queries, keys and values; along another axis all alike."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    results = [context.shape(value) for value in node.outputs]
    if not isinstance(placement, Sharded) or shape is None:
        return None
    axis = (node.attributes.get_int("axis", 0) or 0) % len(shape)
    if placement.axis != axis:
        return Decision({str(value.name): placement for value in node.outputs})
    sizes = tuple(result[axis] for result in results if result is not None)
    if len(sizes) != len(results):
        return None
    places = gcd(*sizes)
    if not placement.sections:
        context.ask_for_parts(placement, sizes, places)
    if tuple(map(sum, placement.sections)) != sizes:
        return context.refuse(node, f"the {len(sizes)} parts of its input are not divided alike")
    outputs: dict[str, Placement] = {}
    for value, size, pieces in zip(node.outputs, sizes, placement.sections, strict=True):
        origins = frozenset(ShardingOrigin(one.node, one.each * size // places) for one in placement.origins)
        outputs[str(value.name)] = Sharded(axis, pieces, origins)
    own = list(zip(*placement.sections, strict=True))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return Decision(outputs, constants={1: [np.array(one) for one in own]})
    if node.attributes.get_ints("split"):
        return Decision(outputs, attributes={"split": own})
    return Decision(outputs) if len(set(placement.sections)) == 1 else None


RULES = {
    ("", "Concat"): Rule(concat),
    ("", "Shape"): Rule(shape_of, merged=True, in_parts=True),
    ("", "Slice"): Rule(slice_data),
    ("", "Split"): Rule(split, in_parts=True),
}
