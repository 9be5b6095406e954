"""Operators that work on each element by itself: a split goes through, a constant operand is sliced along with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from beamsplit.models.graph.operators import BROADCAST, UNARY
from beamsplit.models.shard.decision import Decision, RuleContext, along
from beamsplit.models.shard.placement import PARTIAL, Partial, Sharded, ShardingOrigin, Sizes
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.rules.sizes import same_sizes

LINEAR = ("Identity", "Neg")
"""Of the above, those that give terms of the result for terms of the input."""


def unary(node: ir.Node, context: RuleContext) -> Decision | None:
    """Each shard works on its slice."""
    placement = context.placement(node.inputs[0])
    if isinstance(placement, Sizes):
        return same_sizes(node, context) if node.op_type in ("Cast", "Identity") else None
    if isinstance(placement, Partial) and node.op_type in LINEAR:
        return Decision({str(node.outputs[0].name): PARTIAL})
    return Decision({str(node.outputs[0].name): placement}) if isinstance(placement, Sharded) else None


def dropout(node: ir.Node, context: RuleContext) -> Decision | None:
    """As in inference, where it does nothing; a mask that is read, or training, needs the whole tensor."""
    training = node.inputs[2] if len(node.inputs) > 2 else None
    asked = training is not None and (training.const_value is None or bool(training.const_value.numpy()))
    if asked or any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    placement = context.placement(node.inputs[0])
    return Decision({str(node.outputs[0].name): placement}) if isinstance(placement, (Sharded, Partial)) else None


def broadcast(node: ir.Node, context: RuleContext) -> Decision | None:
    """Operands are split alike, or broadcast along the split, or constants that are sliced.

    [rows, heads/N, t, t] + [rows, 1, t, t] whole        [rows, features/N] + bias [features] sliced
    """
    rank = _rank(node, context)
    if rank is None:
        return None
    axis: int | None = None
    found: Sharded | None = None
    origins: frozenset[ShardingOrigin] = frozenset()
    for value in node.inputs:
        placement = context.placement(value)
        if isinstance(placement, (Partial, Sizes)):
            return None
        if isinstance(placement, Sharded):
            shape = context.shape(value)
            if shape is None:
                return None
            here = placement.axis + rank - len(shape)
            if found is None:
                axis, found, origins = here, placement, placement.origins
            elif axis != here or sum(found.pieces) != sum(placement.pieces) or found.sections != placement.sections:
                return None
            else:
                origins = context.agree(found, placement)
    if found is None or axis is None:
        return None
    slices = {}
    for position, value in enumerate(node.inputs):
        if value is None or isinstance(context.placement(value), Sharded):
            continue
        shape = context.shape(value)
        if shape is None:
            return None
        at = axis - (rank - len(shape))
        if at < 0 or shape[at] == 1:
            continue
        if not context.is_constant(value):
            return None
        slices[position] = along(found, at)
    return Decision({str(node.outputs[0].name): Sharded(axis, found.pieces, origins, sections=found.sections)}, slices)


def _rank(node: ir.Node, context: RuleContext) -> int | None:
    shapes = [context.shape(value) for value in node.inputs if value is not None]
    known = [len(shape) for shape in shapes if shape is not None]
    return max(known) if known and len(known) == len(shapes) else None


def _broadcast_alike(
    node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]
) -> Mapping[int, int | None]:
    """Data beside a constant that is divided: along the axis that this is broadcast to."""
    rank = max(map(len, shapes.values()))
    position, along = next(iter(axes.items()))
    behind = len(shapes[position]) - along
    found: dict[int, int | None] = {}
    for at, shape in shapes.items():
        axis = len(shape) - behind
        if at not in axes and axis >= 0 and shape[axis] != 1 and rank - behind >= 0:
            found[at] = axis
    return found


_MERGED = ("Identity", "Relu", "Tanh")
_IN_PARTS = ("Abs", "Add", "Cast", "Div", "Identity", "Mul", "Neg", "Sub")

RULES = {("", name): Rule(unary, merged=name in _MERGED, in_parts=name in _IN_PARTS) for name in UNARY}
RULES |= {("", name): Rule(broadcast, beside=_broadcast_alike, in_parts=name in _IN_PARTS) for name in BROADCAST}
RULES |= {("", "Dropout"): Rule(dropout)}
RULES |= {("com.microsoft", name): Rule(unary) for name in ("Gelu", "QuickGelu")}
RULES |= {("com.microsoft", name): Rule(broadcast) for name in ("BiasGelu", "FastGelu")}
