"""Quantised layers, by output channels: each channel has its own scale, or all have one.

Some go by rows of the weight too, where the scale of the data is given and the result is not rounded.
"""

from __future__ import annotations

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, Slice, along, input_at
from beamsplit.models.shard.placement import PARTIAL, Replicated, Sharded
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.rules.channels import CHANNELS
from beamsplit.models.shard.rules.linear import product_data
from beamsplit.models.shard.weights import weight_bytes


def matmul_integer(node: ir.Node, context: RuleContext) -> Decision | None:
    """MatMulInteger(A, B, a_zero_point, b_zero_point) by columns of B; the sums are int32 and exact."""
    weight = node.inputs[1]
    return _by_columns(node, context, weight, 1, per_channel=(3,))


def qlinear_matmul(node: ir.Node, context: RuleContext) -> Decision | None:
    """QLinearMatMul(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp) by columns of b."""
    return _by_columns(node, context, node.inputs[3], 3, per_channel=(4, 5))


def _by_columns(
    node: ir.Node,
    context: RuleContext,
    weight: ir.Value | None,
    position: int,
    per_channel: tuple[int, ...],
    turned: bool = False,
) -> Decision | None:
    shape, data = context.shape(weight), context.shape(node.inputs[0])
    if not context.is_constant(weight) or shape is None or len(shape) != 2 or data is None:
        return None
    if not isinstance(context.placement(node.inputs[0]), Replicated):
        return None
    split = context.begin(node, len(data) - 1, shape[0 if turned else 1], in_parts=True)
    if split is None:
        return None
    scales = _scales(node, context, per_channel, split)
    if scales is None:
        return context.refuse(node, "the scales of its columns are computed from data")
    slices = {position: along(split, 0 if turned else 1)} | scales
    return Decision({str(node.outputs[0].name): split}, slices, sharded_bytes=weight_bytes(weight))


def dynamic_quantize_matmul(node: ir.Node, context: RuleContext) -> Decision | None:
    """DynamicQuantizeMatMul(A, B, b_scale, b_zp, bias) by columns of B.

    Never by rows: the scale of A is of its least and greatest number, and a slice has others.
    """
    if isinstance(context.placement(node.inputs[0]), Sharded):
        return context.refuse(node, "its data is scaled by the least and greatest number of all")
    return _by_columns(node, context, node.inputs[1], 1, per_channel=(2, 3, 4))


def matmul_integer_to_float(node: ir.Node, context: RuleContext) -> Decision | None:
    """MatMulIntegerToFloat(A, B, a_scale, b_scale, a_zp, b_zp, bias): columns of B, or on slices of A its rows."""
    weight, placement, data = node.inputs[1], context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or data is None:
        return _by_columns(node, context, weight, 1, per_channel=(3, 5, 6))
    bias = input_at(node, 6)
    if placement.axis != len(data) - 1 or not context.is_constant(weight):
        return None
    return Decision(
        {str(node.outputs[0].name): PARTIAL},
        {1: Slice(0, placement.pieces)},
        frozenset([6] if bias is not None else []),
        sharded_bytes=weight_bytes(weight),
    )


def qgemm(node: ir.Node, context: RuleContext) -> Decision | None:
    """QGemm(A, a_scale, a_zp, B, b_scale, b_zp, C, y_scale, y_zp): columns of B; rows where the result is float."""
    weight, placement = node.inputs[3], context.placement(node.inputs[0])
    shape = context.shape(weight)
    bias, rounded = input_at(node, 6), input_at(node, 7)
    if not context.is_constant(weight) or shape is None or len(shape) != 2:
        return None
    inner, outer = (1, 0) if node.attributes.get_int("transB", 0) else (0, 1)
    if isinstance(placement, Replicated):
        return _by_columns(node, context, weight, 3, per_channel=(4, 5, 6), turned=outer == 0)
    if not isinstance(placement, Sharded) or placement.axis != (0 if node.attributes.get_int("transA", 0) else 1):
        return None
    if rounded is not None:
        return context.refuse(node, "its result is rounded, which is of the whole sum")
    return Decision(
        {str(node.outputs[0].name): PARTIAL},
        {3: Slice(inner, placement.pieces)},
        frozenset([6] if bias is not None else []),
        sharded_bytes=weight_bytes(weight),
    )


def qlinear_conv(node: ir.Node, context: RuleContext) -> Decision | None:
    """QLinearConv(x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, B) by output channels."""
    return _by_output_channels(node, context, 3, per_channel=(4, 5, 8))


def conv_integer(node: ir.Node, context: RuleContext) -> Decision | None:
    """ConvInteger(x, w, x_zp, w_zp) by output channels."""
    return _by_output_channels(node, context, 1, per_channel=(3,))


def _by_output_channels(
    node: ir.Node, context: RuleContext, position: int, per_channel: tuple[int, ...]
) -> Decision | None:
    weight = node.inputs[position]
    shape = context.shape(weight)
    if not context.is_constant(weight) or shape is None or (node.attributes.get_int("group", 1) or 1) != 1:
        return None
    if not isinstance(context.placement(node.inputs[0]), Replicated):
        return None
    split = context.begin(node, 1, shape[0])
    if split is None:
        return None
    scales = _scales(node, context, per_channel, split)
    if scales is None:
        return context.refuse(node, "the scales of its channels are computed from data")
    slices = {position: Slice(0, split.pieces)} | scales
    return Decision({str(node.outputs[0].name): split}, slices, sharded_bytes=weight_bytes(weight))


def _scales(node: ir.Node, context: RuleContext, positions: tuple[int, ...], split: Sharded) -> dict[int, Slice] | None:
    """Of the inputs those that have a number a channel, sliced; None where one of them is data."""
    found = {}
    for position in positions:
        value = input_at(node, position)
        shape = context.shape(value)
        if shape and shape[-1] != 1:
            if not context.is_constant(value):
                return None
            found[position] = along(split, len(shape) - 1)
    return found


def quantize(node: ir.Node, context: RuleContext) -> Decision | None:
    """QuantizeLinear and DequantizeLinear of data: element by element, with one scale or one a channel."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    constant = all(value is None or context.is_constant(value) for value in node.inputs[1:])
    if not isinstance(placement, Sharded) or shape is None or not constant or node.attributes.get_int("block_size"):
        return None
    axis = (node.attributes.get_int("axis", 1) or 0) % len(shape)
    slices = {}
    for position, value in enumerate(node.inputs[1:], 1):
        scale = context.shape(value)
        if value is not None and (scale is None or (scale and scale != (1,) and axis == placement.axis)):
            slices[position] = Slice(0, placement.pieces)
    return Decision({str(node.outputs[0].name): placement}, slices)


RULES = {
    ("", "ConvInteger"): Rule(conv_integer, weight=1, axes=CHANNELS),
    ("", "DequantizeLinear"): Rule(quantize),
    ("", "MatMulInteger"): Rule(matmul_integer, weight=1),
    ("", "QLinearConv"): Rule(qlinear_conv, weight=3, axes=CHANNELS),
    ("", "QLinearMatMul"): Rule(qlinear_matmul, weight=3),
    ("", "QuantizeLinear"): Rule(quantize),
    ("com.microsoft", "DynamicQuantizeMatMul"): Rule(dynamic_quantize_matmul, weight=1),
    ("com.microsoft", "MatMulIntegerToFloat"): Rule(matmul_integer_to_float, weight=1, beside=product_data(1)),
    ("com.microsoft", "QGemm"): Rule(qgemm, weight=3, beside=product_data(3)),
}
