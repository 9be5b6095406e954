"""Gemm and MatMul: by columns of the weight, by rows of it, or by heads where both operands are data.

    column   x whole         @ w[:, slice k]      -> y split on its last axis
    row      x split on k    @ w[slice k, :]      -> y partial; with a column layer before it, one sum for both
    heads    q split on an outer axis @ k split alike -> split there

Source: Shoeybi et al., Megatron-LM, 2019 (arXiv 1909.08053), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, Slice, along
from beamsplit.models.shard.placement import PARTIAL, Partial, Replicated, Sharded
from beamsplit.models.shard.rule import DataBeside, Rule
from beamsplit.models.shard.weights import weight_bytes


def gemm(node: ir.Node, context: RuleContext) -> Decision | None:
    """Gemm(A, B, C) with a constant B; alpha, beta and the transpositions stay as they are."""
    data, weight, *rest = node.inputs
    bias = rest[0] if rest else None
    shape = context.shape(weight)
    if (
        not context.is_constant(weight)
        or shape is None
        or len(shape) != 2
        or (bias is not None and not context.is_constant(bias))
    ):
        return None
    transposed = bool(node.attributes.get_int("transB", 0))
    inner, outer = (1, 0) if transposed else (0, 1)
    name = str(node.outputs[0].name)
    placement = context.placement(data)
    if isinstance(placement, Replicated):
        split = context.begin(node, 1, shape[outer], in_parts=True)
        if split is None:
            return None
        slices = {1: along(split, outer)}
        _slice_bias(slices, 2, bias, context, split)
        return Decision({name: split}, slices, sharded_bytes=weight_bytes(weight))
    if not isinstance(placement, Sharded):
        return None
    contracted = 0 if node.attributes.get_int("transA", 0) else 1
    if placement.axis != contracted:
        return None
    slices = {1: Slice(inner, placement.pieces)}
    # Without a bias it may be since opset 11 only.
    return Decision(
        {name: PARTIAL},
        slices,
        frozenset([2] if bias is not None else []),
        sharded_bytes=weight_bytes(weight),
        zero_elsewhere=True,
    )


def _slice_bias(
    slices: dict[int, Slice], position: int, bias: ir.Value | None, context: RuleContext, split: Sharded
) -> None:
    shape = context.shape(bias)
    if shape and shape[-1] != 1:
        slices[position] = along(split, len(shape) - 1)


def fused_gemm(node: ir.Node, context: RuleContext) -> Decision | None:
    """FusedGemm: Gemm and an activation, which must see the whole sum."""
    decision = gemm(node, context)
    if decision is not None and PARTIAL in decision.outputs.values():
        return context.refuse(node, "its activation is of the whole sum")
    return decision


def matmul(node: ir.Node, context: RuleContext) -> Decision | None:
    """MatMul(A, B), and FusedMatMul with either turned: B a constant, or both data that are split alike."""
    first, second = node.inputs[:2]
    name = str(node.outputs[0].name)
    a, b = context.shape(first), context.shape(second)
    if a is None or b is None or min(len(a), len(b)) < 2:
        return None
    if any(node.attributes.get_int(f"transBatch{one}", 0) for one in "AB"):
        return context.refuse(node, "its batches are turned")
    turned_a, turned_b = (bool(node.attributes.get_int(f"trans{one}", 0)) for one in "AB")
    # Of each operand the axis that is summed over, and of B that of its columns.
    summed_a, summed_b = len(a) - 1 - turned_a, len(b) - 2 + turned_b
    columns = len(b) - 1 - turned_b
    left, right = context.placement(first), context.placement(second)
    rank = max(len(a), len(b))
    if isinstance(left, Partial) or isinstance(right, Partial):
        return None
    if context.is_constant(second) and isinstance(left, Replicated):
        if len(b) != 2:
            return None
        split = context.begin(node, rank - 1, b[columns], in_parts=True)
        return (
            None
            if split is None
            else Decision({name: split}, {1: along(split, columns)}, sharded_bytes=weight_bytes(second))
        )
    if isinstance(left, Sharded) and isinstance(right, Replicated):
        if left.axis == summed_a:
            if not context.is_constant(second) or left.outer != 1:
                return None
            slices = {1: Slice(summed_b, left.pieces)}
            return Decision({name: PARTIAL}, slices, sharded_bytes=weight_bytes(second))
        outer = rank - 2 if left.axis >= len(a) - 2 else left.axis + rank - len(a)
        if left.axis < len(a) - 2 and outer - (rank - len(b)) >= 0 and b[outer - (rank - len(b))] != 1:
            return None
        return Decision({name: Sharded(outer, left.pieces, left.origins, left.outer)})
    if isinstance(left, Sharded) and isinstance(right, Sharded):
        return _both(name, _Operand(left, len(a), summed_a), _Operand(right, len(b), summed_b), context)
    return None


class _Operand(NamedTuple):
    """Of a product, divided."""

    split: Sharded
    axes: int
    summed: int
    """The axis that is summed over."""


def _both(name: str, a: _Operand, b: _Operand, context: RuleContext) -> Decision | None:
    """A product of data that is divided on both sides."""
    left, right, rank = a.split, b.split, max(a.axes, b.axes)
    contracted = left.axis == a.summed and right.axis == b.summed
    outer = left.axis + rank - a.axes == right.axis + rank - b.axes and left.axis < a.axes - 2
    alike = sum(left.pieces) == sum(right.pieces) and left.outer == right.outer
    if not (contracted or outer) or not alike or (contracted and left.outer != 1):
        return None
    origins = context.agree(left, right)
    axis = left.axis + rank - a.axes
    return Decision({name: PARTIAL if contracted else Sharded(axis, left.pieces, origins, left.outer)})


def product_data(weight: int) -> DataBeside:
    """Of a product that can go by rows of its weight, which then needs slices of the data; each may be turned.

    Args:
        weight: its position.
    """

    def beside(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
        turned_a, turned_b = (node.attributes.get_int(f"trans{one}", 0) or 0 for one in "AB")
        by_rows = axes.get(weight) == len(shapes[weight]) - 2 + turned_b
        return {0: len(shapes[0]) - 1 - turned_a if by_rows else None}

    return beside


RULES = {
    ("", "Gemm"): Rule(gemm, weight=1, beside=product_data(1)),
    ("", "MatMul"): Rule(matmul, weight=1, beside=product_data(1), merged=True),
    ("com.microsoft", "FusedGemm"): Rule(fused_gemm, weight=1, beside=product_data(1)),
    ("com.microsoft", "FusedMatMul"): Rule(matmul, weight=1, beside=product_data(1)),
}
