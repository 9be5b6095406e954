"""What one operator does with tensors that are divided over shards, as a value: what is known of it in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext

Decide: TypeAlias = Callable[[ir.Node, RuleContext], "Decision | None"]
"""What becomes of a node on each shard; None where it needs whole inputs, which are joined before it then."""

DataBeside: TypeAlias = Callable[[ir.Node, Mapping[int, int], Mapping[int, Sequence[int]]], Mapping[int, "int | None"]]
"""(node, axes along which constants are divided, shapes of its inputs) -> axes along which its data is divided.

All by the position of the input; None is whole data, and what is not named may lie as it does.
"""


def whole_data(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
    """A layer whose weight is divided by columns only: each shard has all of the data, its first input."""
    return {0: None}


@dataclass(frozen=True)
class Rule:
    """An operator over shards.

    >>> from beamsplit.models.shard.placement import Sharded
    >>> def relu(node, context):
    ...     placement = context.placement(node.inputs[0])
    ...     return Decision({str(node.outputs[0].name): placement}) if isinstance(placement, Sharded) else None
    >>> RULES = {("", "Relu"): Rule(relu, merged=True)}
    """

    decide: Decide

    weight: int | None = None
    """Position of a layer's weight; None for what is no layer."""

    beside: DataBeside | None = None
    """How data lies where the model's annotations tell of constants only; by default a layer's is whole."""

    axes: tuple[str, str] = ("columns", "rows")
    """What the weight is divided by, in words: where the shards make slices of the output, and where terms of it."""

    merged: bool = False
    """Whether it takes a split axis into which another was merged (`Split.outer`)."""

    in_parts: bool = False
    """Whether it takes an axis along which several tensors lie behind one another, each cut (`Split.sections`)."""

    @property
    def data_beside(self) -> DataBeside | None:
        """`beside`, or what goes for a layer."""
        return whole_data if self.beside is None and self.weight is not None else self.beside
