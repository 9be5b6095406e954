"""Operators that move elements or reduce over other axes: the split moves with its axis.

[rows, t, heads/N * d] -> Reshape -> [rows, t, heads/N, d] -> Transpose -> [rows, heads/N, t, d]
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, input_at
from beamsplit.models.shard.placement import Partial, Sharded, Sizes, move_sharded
from beamsplit.models.shard.rule import Rule


def reshape(node: ir.Node, context: RuleContext) -> Decision | None:
    """Reshape, Flatten, Squeeze, Unsqueeze: what stands before the split's axis stays together, and what is behind."""
    source, result = context.shape(node.inputs[0]), context.shape(node.outputs[0])
    placement = context.placement(node.inputs[0])
    name = str(node.outputs[0].name)
    if isinstance(placement, Sizes):
        scalar = node.op_type in ("Squeeze", "Unsqueeze") and result is not None and len(result) < 2
        return Decision({name: placement}) if scalar else None
    if source is None or result is None or 0 in source:
        return None
    if isinstance(placement, Partial):
        return Decision({name: placement})
    if not isinstance(placement, Sharded):
        return None
    if _packs_heads(source, result, placement) and not placement.sections:
        size = source[-1] // result[-3]
        context.ask_for_parts(placement, (size,) * result[-3], size)
    moved = _moved_parts(placement, source, result) if placement.sections else move_sharded(placement, source, result)
    if moved is None:
        return None
    decision = Decision({name: moved})
    if node.op_type != "Reshape":
        return decision
    target = input_at(node, 1)
    values = integers(node, "shape", 1)
    if values is not None:
        if values[moved.axis] > 0:
            if moved.outer != 1:
                return None
            each = [[*values[: moved.axis], piece, *values[moved.axis + 1 :]] for piece in moved.pieces]
            if target is None:
                decision.attributes["shape"] = each
            else:
                decision.constants[1] = [np.array(one) for one in each]
        return decision
    return decision if _leaves_room(target, moved, context) else None


def _packs_heads(source: tuple[int, ...], result: tuple[int, ...], placement: Sharded) -> bool:
    """Whether queries, keys and values behind one another get an axis of their own: [..., 3 x heads x size]."""
    last = len(source) - 1
    return (
        placement.axis == last and len(result) == len(source) + 2 and source[:last] == result[:last] and result[-3] == 3
    )


def _moved_parts(placement: Sharded, source: tuple[int, ...], result: tuple[int, ...]) -> Sharded | None:
    """Where a split with sections lies after a reshape: its axis as it was, or the sections on an axis before it."""
    behind = prod(source[placement.axis + 1 :])
    for axis, size in enumerate(result):
        if size == source[placement.axis] and prod(result[axis + 1 :]) == behind:
            return replace(placement, axis=axis)
    first = placement.sections[0]
    if any(one != first for one in placement.sections):
        return None
    moved = move_sharded(Sharded(placement.axis, first, placement.origins, len(placement.sections)), source, result)
    return None if moved is None or moved.outer != 1 else moved


def _leaves_room(target: ir.Value | None, moved: Sharded, context: RuleContext) -> bool:
    """Whether a computed target has, at the split's axis, the shard's own size, -1 or 0 (the size of the data)."""
    placement = context.placement(target)
    if isinstance(placement, Sizes) and (moved.axis, moved.pieces) in placement.positions:
        return moved.outer == 1
    node = target.producer() if target is not None else None
    if node is None or node.op_type != "Concat":
        return False
    at = 0
    for part in node.inputs:
        shape = context.shape(part)
        if shape is None or len(shape) != 1:
            return False
        if at <= moved.axis < at + shape[0]:
            known = numbers(part)
            return known is not None and known[moved.axis - at] in (-1, 0)
        at += shape[0]
    return False


def numbers(value: ir.Value | None) -> list[int] | None:
    """The integers of an initializer; None where the value is computed."""
    tensor = value.const_value if value is not None else None
    return None if tensor is None else [int(number) for number in tensor.numpy().reshape(-1)]


def integers(node: ir.Node, name: str, position: int) -> list[int] | None:
    """What an operator takes as an input of integers, and took as an attribute before; None where it is computed.

    Of neither too: `given` tells them apart.
    """
    attribute = node.attributes.get_ints(name)
    return numbers(input_at(node, position)) if attribute is None else [int(number) for number in attribute]


def given(node: ir.Node, name: str, position: int) -> bool:
    """Whether a node has what `integers` reads."""
    return name in node.attributes or input_at(node, position) is not None


def transpose(node: ir.Node, context: RuleContext) -> Decision | None:
    """The axis goes where the permutation takes it."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    name = str(node.outputs[0].name)
    if isinstance(placement, Partial):
        return Decision({name: placement})
    if not isinstance(placement, Sharded) or shape is None:
        return None
    perm = list(node.attributes.get_ints("perm", tuple(range(len(shape)))[::-1]) or ())
    return Decision({name: replace(placement, axis=perm.index(placement.axis))})


def along_axis(node: ir.Node, context: RuleContext) -> Decision | None:
    """Softmax and the like work along one axis; the split must be on another."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None or len(node.outputs) != 1:
        return None
    old = context.graph.opsets.get("", 1) < 13 and node.op_type != "LpNormalization"
    axis = (node.attributes.get_int("axis", 1 if old else -1) or 0) % len(shape)
    # Before opset 13 Softmax worked on all axes from its own on.
    if placement.axis == axis or (old and placement.axis > axis):
        return None
    return Decision({str(node.outputs[0].name): placement})


def reduce(node: ir.Node, context: RuleContext) -> Decision | None:
    """A reduction over other axes than the split's; the axes must be known."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None:
        return None
    axes = integers(node, "axes", 1)
    if not axes:
        return None
    reduced = {axis % len(shape) for axis in axes}
    if placement.axis in reduced:
        return None
    kept = bool(node.attributes.get_int("keepdims", 1))
    axis = placement.axis if kept else placement.axis - sum(axis < placement.axis for axis in reduced)
    return Decision({str(node.outputs[0].name): Sharded(axis, placement.pieces, placement.origins)})


def normalise_last(node: ir.Node, context: RuleContext) -> Decision | None:
    """LayerNormalization over the last axes: the split must be before them."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None or len(node.outputs) != 1:
        return None
    axis = (node.attributes.get_int("axis", -1) or 0) % len(shape)
    return Decision({str(node.outputs[0].name): placement}) if placement.axis < axis else None


def normalise_sum(node: ir.Node, context: RuleContext) -> Decision | None:
    """SkipLayerNormalization(x, skip, gamma, ...): the last axis of x + skip, both split alike before it."""
    placements = [context.placement(value) for value in node.inputs[:2]]
    shapes = [context.shape(value) for value in node.inputs[:2]]
    first, other = placements
    if not isinstance(first, Sharded) or not isinstance(other, Sharded) or shapes[0] is None or shapes[0] != shapes[1]:
        return None
    if first.axis != other.axis or first.axis == len(shapes[0]) - 1:
        return context.refuse(node, "it needs all of its last axis")
    both = Sharded(first.axis, first.pieces, context.agree(first, other))
    # The means between are a number a row; nobody but training reads them.
    if any(value.name and (value.uses() or value.is_graph_output()) for value in node.outputs[1:3]):
        return context.refuse(node, "its means are read")
    return Decision({str(node.outputs[at].name): both for at in (0, 3) if at < len(node.outputs)})


_REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
RULES = {("", f"Reduce{name}"): Rule(reduce) for name in _REDUCE}
RULES |= {("", name): Rule(reshape) for name in ("Flatten", "Squeeze", "Unsqueeze")}
RULES |= {("", "Reshape"): Rule(reshape, merged=True, in_parts=True)}
RULES |= {("", name): Rule(along_axis) for name in ("Hardmax", "LpNormalization")}
RULES |= {("", name): Rule(along_axis, merged=True) for name in ("LogSoftmax", "Softmax")}
RULES |= {("", "Transpose"): Rule(transpose, merged=True)}
RULES |= {("", f"{name}Normalization"): Rule(normalise_last) for name in ("Layer", "RMS", "SimplifiedLayer")}
RULES |= {("com.microsoft", f"Skip{name}Normalization"): Rule(normalise_sum) for name in ("Layer", "SimplifiedLayer")}
