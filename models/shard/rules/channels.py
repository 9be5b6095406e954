"""Convolutions by output or input channels, and what stands between them: normalisation and pooling a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, Slice
from beamsplit.models.shard.placement import PARTIAL, NeedsGranule, Replicated, Sharded
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.weights import weight_bytes


def conv(node: ir.Node, context: RuleContext) -> Decision | None:
    """Conv(X, W [out, in / groups, ...], B [out]).

    whole x, one group       each shard makes some output channels
    whole x, several groups  each shard takes the channels of its groups: output split
    x split, one group       each shard sums over its input channels: partial
    x split, several groups  each shard has whole groups: output split
    """
    data, weight, *rest = node.inputs
    bias = rest[0] if rest else None
    shape = context.shape(weight)
    placement = context.placement(data)
    if shape is None or not context.is_constant(weight) or (bias is not None and not context.is_constant(bias)):
        return None
    name = str(node.outputs[0].name)
    groups = node.attributes.get_int("group", 1) or 1
    size = weight_bytes(weight)
    if isinstance(placement, Replicated):
        split = context.begin(node, 1, shape[0], 1 if groups == 1 else shape[0] // groups)
        if split is None:
            return None
        decision = Decision({name: split}, _outputs(split.pieces, bias), sharded_bytes=size)
        if groups > 1:
            own = [piece // (shape[0] // groups) for piece in split.pieces]
            decision.taken = {0: Slice(1, tuple(count * shape[1] for count in own))}
            decision.attributes["group"] = own
        return decision
    if not isinstance(placement, Sharded) or placement.axis != 1:
        return None
    if groups == 1:
        first = frozenset([2] if bias is not None else [])
        return Decision({name: PARTIAL}, {1: Slice(1, placement.pieces)}, first, sharded_bytes=size)
    each = shape[1]
    if any(piece % each for piece in placement.pieces):
        raise NeedsGranule(placement.origins, each)
    pieces = tuple(piece // each * (shape[0] // groups) for piece in placement.pieces)
    return Decision(
        {name: Sharded(1, pieces, placement.origins)},
        _outputs(pieces, bias),
        attributes={"group": [piece // each for piece in placement.pieces]},
        sharded_bytes=size,
    )


def _outputs(pieces: tuple[int, ...], bias: ir.Value | None) -> dict[int, Slice]:
    slices = {1: Slice(0, pieces)}
    if bias is not None:
        slices[2] = Slice(0, pieces)
    return slices


def batch_normalization(node: ir.Node, context: RuleContext) -> Decision | None:
    """Scale, bias, mean and variance are a number a channel."""
    placement = context.placement(node.inputs[0])
    constant = all(context.is_constant(value) for value in node.inputs[1:])
    if not isinstance(placement, Sharded) or placement.axis != 1 or not constant or len(node.outputs) != 1:
        return None
    return Decision({str(node.outputs[0].name): placement}, {k: Slice(0, placement.pieces) for k in range(1, 5)})


def instance_normalization(node: ir.Node, context: RuleContext) -> Decision | None:
    """Each channel is normalised by itself."""
    placement = context.placement(node.inputs[0])
    if not isinstance(placement, Sharded) or placement.axis != 1 or not all(map(context.is_constant, node.inputs[1:])):
        return None
    return Decision({str(node.outputs[0].name): placement}, {k: Slice(0, placement.pieces) for k in (1, 2)})


def pool(node: ir.Node, context: RuleContext) -> Decision | None:
    """Each channel is pooled by itself; so is each row."""
    placement = context.placement(node.inputs[0])
    if not isinstance(placement, Sharded) or placement.axis > 1 or len(node.outputs) != 1:
        return None
    return Decision({str(node.outputs[0].name): placement})


def _channels(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
    """Numbers a channel go with the channels of the data."""
    return {0: 1}


def _conv_data(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
    """By output channels all of the data; by input channels, or by groups, slices of its channels."""
    grouped = (node.attributes.get_int("group", 1) or 1) > 1
    return {0: 1 if axes.get(1) == 1 or grouped else None}


CHANNELS = ("output channels", "input channels")
"""`Rule.axes` of convolutions."""

POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool", "MaxPool")
RULES = {("", name): Rule(pool) for name in POOLS}
RULES |= {
    ("", "BatchNormalization"): Rule(batch_normalization, beside=_channels),
    ("", "Conv"): Rule(conv, weight=1, beside=_conv_data, axes=CHANNELS),
    ("", "InstanceNormalization"): Rule(instance_normalization, beside=_channels),
}
