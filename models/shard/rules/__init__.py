"""What each operator does with tensors that are divided over shards: one function an operator, by family.

A rule gives the node's `Decision`, or None where it needs whole inputs (they are joined before it then).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from beamsplit.models.shard.decision import Context, Decision
from beamsplit.models.shard.placement import Split
from beamsplit.models.shard.rules import (
    attention,
    blockwise,
    channels,
    elementwise,
    embedding,
    linear,
    quantized,
    shape,
    sizes,
    trees,
)

Rule = Callable[[ir.Node, Context], "Decision | None"]

RULES: Mapping[tuple[str, str], Rule] = {
    **attention.RULES,
    **blockwise.RULES,
    **channels.RULES,
    **elementwise.RULES,
    **embedding.RULES,
    **linear.RULES,
    **quantized.RULES,
    **shape.RULES,
    **sizes.RULES,
    **trees.RULES,
}
"""By (domain, operator)."""


MERGED = frozenset({"Identity", "LogSoftmax", "MatMul", "Relu", "Reshape", "Shape", "Softmax", "Tanh", "Transpose"})
"""Operators that take a split axis into which another was merged."""


IN_PARTS = frozenset(
    {"Abs", "Add", "Cast", "Div", "GroupQueryAttention", "Identity", "Mul", "Neg", "Reshape", "Shape", "Split", "Sub"}
)
"""Operators that take an axis along which several tensors lie behind one another, each cut."""


def decide(node: ir.Node, context: Context) -> Decision | None:
    """What becomes of the node on each shard; None where it must stay whole."""
    rule = RULES.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))
    merged = any(isinstance(one, Split) and one.outer != 1 for one in map(context.layout, node.inputs))
    parts = any(isinstance(one, Split) and one.sections for one in map(context.layout, node.inputs))
    if rule is None or (parts and node.op_type not in IN_PARTS) or (merged and node.op_type not in MERGED):
        return None
    return rule(node, context)
