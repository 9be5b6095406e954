"""MatMulNBits, whose weight is quantised in blocks of its rows, as 4-bit language models have it.

B [N, K / block, bytes of a block], scales [N, K / block], zero points: 8 / bits of them in a byte, or numbers

columns  x whole                    some of the N          -> y split on its last axis
rows     x split into whole blocks  the blocks of x[k]     -> terms; the bias once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, Slice, along, input_at
from beamsplit.models.shard.placement import PARTIAL, Replicated, Sharded
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.weights import weight_bytes

_WEIGHT, _SCALES, _ZERO_POINTS, _GROUPS, _BIAS = 1, 2, 3, 4, 5


def matmul_nbits(node: ir.Node, context: RuleContext) -> Decision | None:
    """MatMulNBits(A, B, scales, zero_points, g_idx, bias)."""
    data, *constants = node.inputs
    shape, placement = context.shape(data), context.placement(data)
    if shape is None or not all(value is None or context.is_constant(value) for value in constants):
        return None
    if not all(node.attributes.get_int(name, 0) for name in ("K", "N", "block_size")):
        return context.refuse(node, "it does not say K, N and block_size")
    if node.attributes.get_int("weight_prepacked", 0):
        return context.refuse(node, "its weight is packed for one kind of processor")
    if isinstance(placement, Replicated):
        return _columns(node, context, len(shape) - 1)
    if not isinstance(placement, Sharded):
        return None
    return _rows(node, context, placement) if placement.axis == len(shape) - 1 else Decision({_result(node): placement})


def _columns(node: ir.Node, context: RuleContext, axis: int) -> Decision | None:
    columns = node.attributes.get_int("N", 0) or 0
    split = context.begin(node, axis, columns, in_parts=True)
    if split is None:
        return None
    slices = {}
    for position in (_WEIGHT, _SCALES, _ZERO_POINTS, _BIAS):
        shape = context.shape(input_at(node, position))
        if shape is None:
            continue
        # [N, ...], or all behind one another: [N x blocks].
        slices[position] = along(split, 0, shape[0] // columns)
    return Decision(
        {_result(node): split},
        slices,
        attributes={"N": split.pieces},
        sharded_bytes=_bytes(node),
    )


def _rows(node: ir.Node, context: RuleContext, placement: Sharded) -> Decision | None:
    block, bits = node.attributes.get_int("block_size", 0) or 0, node.attributes.get_int("bits", 4) or 4
    zero_points, groups = input_at(node, _ZERO_POINTS), input_at(node, _GROUPS)
    if groups is not None:
        return context.refuse(node, "its rows are dealt to blocks one by one (g_idx)")
    held = {at: input_at(node, at) for at in (_WEIGHT, _SCALES, _ZERO_POINTS)}
    ranks = {at: len(context.shape(value) or ()) for at, value in held.items() if value is not None}
    if ranks != {_WEIGHT: 3, _SCALES: 2, _ZERO_POINTS: 2} and ranks != {_WEIGHT: 3, _SCALES: 2}:
        return context.refuse(node, "its scales are not apart by columns")
    in_a_byte = 8 // bits if zero_points is not None and zero_points.dtype == ir.DataType.UINT8 else 1
    if not context.cut_at(placement, block * in_a_byte):
        return context.refuse(node, f"its {sum(placement.pieces)} rows have no {context.shards} parts of whole blocks")
    blocks = tuple(piece // block for piece in placement.pieces)
    slices = {_WEIGHT: Slice(1, blocks), _SCALES: Slice(1, blocks)}
    if zero_points is not None:
        slices[_ZERO_POINTS] = Slice(1, tuple(count // in_a_byte for count in blocks))
    return Decision(
        {_result(node): PARTIAL},
        slices,
        frozenset([_BIAS] if input_at(node, _BIAS) is not None else []),
        attributes={"K": placement.pieces},
        sharded_bytes=_bytes(node),
    )


def _result(node: ir.Node) -> str:
    return str(node.outputs[0].name)


def _bytes(node: ir.Node) -> int:
    return sum(weight_bytes(input_at(node, at)) for at in (_WEIGHT, _SCALES, _ZERO_POINTS))


def _data(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
    """By columns all of the data, by whole blocks of rows slices of its last axis."""
    by_rows = axes.get(_WEIGHT) == 1
    return {0: len(shapes[0]) - 1 if by_rows else None}


RULES = {("com.microsoft", "MatMulNBits"): Rule(matmul_nbits, weight=_WEIGHT, beside=_data)}
