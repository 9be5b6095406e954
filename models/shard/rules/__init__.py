"""What each operator does with tensors that are divided over shards: a `Rule` an operator, by family.

A new rule is an entry in its family's `RULES`; a new family stands in `FAMILIES` too.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext
from beamsplit.models.shard.placement import Sharded
from beamsplit.models.shard.rule import Rule
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

FAMILIES = (attention, blockwise, channels, elementwise, embedding, linear, quantized, shape, sizes, trees)

RULES: Mapping[tuple[str, str], Rule] = {key: rule for family in FAMILIES for key, rule in family.RULES.items()}
"""By (domain, operator)."""


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's operator; None where there is none, and it stays whole."""
    return RULES.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))


def decide(node: ir.Node, context: RuleContext) -> Decision | None:
    """What becomes of the node on each shard; None where it must stay whole."""
    rule = rule_of(node)
    if rule is None:
        return None
    splits = [one for one in map(context.placement, node.inputs) if isinstance(one, Sharded)]
    if any(one.outer != 1 for one in splits) and not rule.merged:
        return None
    if any(one.sections for one in splits) and not rule.in_parts:
        return None
    return rule.decide(node, context)


def axes_of(op_type: str) -> tuple[str, str]:
    """What the weight of a layer is divided by, in words (`Rule.axes`), of whatever domain."""
    return next((rule.axes for (_, name), rule in RULES.items() if name == op_type), Rule.axes)
