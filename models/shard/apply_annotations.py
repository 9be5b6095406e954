"""Follows a model's annotations through its graph, where `propagate` follows splits of its own choice.

What an annotated node asks for and its input is not yet, comes to be by a node put before it:

    x whole -> slice of x for fc1 -> split -> fc1(row) -> partial

A node without annotations runs on shards only where that needs no weight of its own to be divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.annotation import Annotation, AxisSpec, WrongSpecError
from beamsplit.models.shard.cutting import Cutting
from beamsplit.models.shard.decision import Decision, Maker, RuleContext
from beamsplit.models.shard.placement import NeedsGranule, NeedsParts, Replicated, Sharded, bounds
from beamsplit.models.shard.propagate import Pass, Sharding, data_inputs
from beamsplit.models.shard.requested import Ask, fixed_shapes, is_named, name_at
from beamsplit.models.shard.rules import rule_of


@dataclass
class _Entry:
    """A node that slices what comes whole, or lets pass what lies as it is asked for."""

    node: str
    """Its name."""

    axis: int
    level: int = 0
    """The first on which it may run."""

    anew: bool = False
    """Whether it takes the whole tensor even where that lies as asked: the node behind it runs on a later level."""


def follow(
    graph: ir.Graph,
    annotation: Annotation,
    asks: Mapping[str, Ask],
    shapes: Mapping[str, Sequence[int]],
    opsets: Mapping[str, int],
    in_stage: Mapping[str, int],
) -> Sharding:
    """As `shard_graph`, but divided as annotated; nodes that slice whole tensors are put into the graph.

    Args:
        graph: sorted, every node named; changed.
        annotation: of the model.
        asks: from `asks_of`.
        shapes: of all tensors on a sample.
        opsets: versions by domain.
        in_stage: stage of each node, from `order_by_stage`; what crosses between stages is whole.

    Raises:
        WrongSpecError: a node cannot run so on shards; the message says which, and why.
    """
    copied = {name: Ask(one.label, dict(one.inputs), one.weights, one.outputs, one.trees) for name, one in asks.items()}
    annotated = _Annotated(graph, annotation.shards, copied, dict(shapes), opsets, dict(in_stage))
    while True:
        walk = _FollowedPass(annotated)
        try:
            made = walk.run()
        except (NeedsGranule, NeedsParts) as need:
            annotated.cutting.settle(need)
            continue
        if walk.unmet:
            annotated.cutting.clear()
            for lacking in walk.unmet:
                annotated.enter(*lacking)
        elif walk.wrong:
            raise WrongSpecError(walk.wrong[0])
        else:
            return made


@dataclass
class _Annotated:
    """A graph with what is asked of it and what has been put into it; walks change it."""

    graph: ir.Graph
    shards: int
    asks: dict[str, Ask]
    shapes: dict[str, Sequence[int]]
    opsets: Mapping[str, int]

    stages: dict[str, int]
    """Stage of each node."""

    entries: dict[tuple[str, str], _Entry] = field(default_factory=dict)
    """By the node that an entry is for, and the tensor that it gives it."""

    cutting: Cutting = field(default_factory=Cutting)

    def enter(self, name: str, tensor: str, axis: int, level: int) -> None:
        """Put an entry before an input of a node, or move one that is there to a later level."""
        known = self.entries.get((name, tensor))
        if known is not None:
            if known.anew and known.level >= level:
                raise WrongSpecError(
                    f"node {self.asks[name].label} asks for {tensor} divided along axis {axis}, which does not go "
                    "together with its other inputs"
                )
            known.anew, known.level = True, max(known.level, level)
            return
        node = next(one for one in self.graph if one.name == name)
        value = next(one for one in node.inputs if is_named(one, tensor))
        assert value is not None
        made = ir.Value(name=f"{tensor}/for {name}", type=value.type, shape=value.shape)
        slicing = ir.Node("", "Identity", [value], outputs=[made], name=f"slice of {tensor} for {name}")
        self.graph.insert_before(node, slicing)
        for at, one in enumerate(node.inputs):
            if one is value:
                node.replace_input_with(at, made)
        self.asks[name].inputs[str(made.name)] = self.asks[name].inputs.pop(tensor)
        self.shapes[str(made.name)] = self.shapes[tensor]
        self.stages[str(slicing.name)] = self.stages.get(name, 0)
        self.entries[name, str(made.name)] = _Entry(str(slicing.name), axis)


def _lies(placement: Sharded, spec: AxisSpec) -> bool:
    """Whether a tensor is divided as it is asked for."""
    return placement.axis == spec.axis and (placement.outer != 1) == spec.merged


class _FollowedPass(Pass):
    """One walk that takes each annotated node as it asks, and tells what was not so."""

    def __init__(self, annotated: _Annotated):
        graph, shards, asks, cutting = annotated.graph, annotated.shards, annotated.asks, annotated.cutting
        super().__init__(graph, shards, annotated.shapes, annotated.opsets, 1, cutting)
        weights = {name: ask.weights for name, ask in asks.items()}
        self.context = RuleContext(shards, self.seen, self.context.graph, cutting, weights)
        self.asks, self.entries = asks, {entry.node: entry for entry in annotated.entries.values()}
        self.fixed = fixed_shapes(graph)
        self.unmet: list[tuple[str, str, int, int]] = []
        """(node, input, axis, level) of inputs that lie otherwise than asked."""
        self.wrong: list[str] = []
        """Why a node cannot run as it asks."""
        self._whole: set[str] = set()
        self.stages, self.stage, self.floor = annotated.stages, 0, 0
        self._made_in: dict[str, int] = {}

    def _usable(self, node: ir.Node, name: str) -> bool:
        ask, entry = self.asks.get(str(node.name)), self.entries.get(str(node.name))
        asked_whole = ask is not None and name in ask.inputs and ask.inputs[name] is None
        elsewhere = self._made_in.get(name, self.stage) != self.stage
        if asked_whole or elsewhere or name in self._whole or (entry is not None and entry.anew):
            return False
        return super()._usable(node, name)

    def _rule(self, node: ir.Node) -> Decision | None:
        entry = self.entries.get(str(node.name))
        return super()._rule(node) if entry is None else self._entered(node, entry)

    def _allowed(self, node: ir.Node, decision: Decision, begins: bool) -> bool:
        name = str(node.name)
        ask = self.asks.get(name)
        return (ask is not None and ask.divides) or name in self.entries or not decision.sharded_bytes

    def _entered(self, node: ir.Node, entry: _Entry) -> Decision | None:
        placement, name = self.context.placement(node.inputs[0]), str(node.outputs[0].name)
        shape = self.context.shape(node.inputs[0])
        if isinstance(placement, Sharded) and placement.axis == entry.axis and placement.outer == 1:
            return Decision({name: placement})
        if not isinstance(placement, Replicated) or shape is None:
            return None
        split = self.context.begin(node, entry.axis, shape[entry.axis])
        if split is None:
            return None
        pieces = split.pieces

        def part(make: Maker, shard: int, given: list[ir.Value | None]) -> list[ir.Value]:
            start, stop = bounds(pieces)[shard]
            if self.context.graph.opsets.get("", 1) < 10:
                return [make.node("Slice", given, starts=[start], ends=[stop], axes=[entry.axis])]
            numbers = [make.constant(np.array([one], np.int64)) for one in (start, stop, entry.axis)]
            return [make.node("Slice", [*given, *numbers])]

        return Decision({name: split}, replace=part)

    def _place(self, node: ir.Node) -> None:
        name = str(node.name)
        self._enter_stage(self.stages.get(name, self.stage))
        super()._place(node)
        entry, ask = self.entries.get(name), self.asks.get(name)
        least = max(self.floor, entry.level if entry is not None else 0)
        if least > self.made.levels[name]:
            self.made.levels[name] = least
            known = self.shard_level if name in self.made.decisions else self.whole_level
            known.update((str(output.name), least) for output in node.outputs)
        self._made_in.update((str(output.name), self.stage) for output in node.outputs)
        if ask is not None and ask.divides and not self._lacks(node, ask):
            self._check(node, ask, self.made.decisions.get(name))
        if ask is not None:
            self._whole.update(tensor for tensor, axis in ask.outputs.items() if axis is None)

    def _enter_stage(self, stage: int) -> None:
        """A stage begins on the level on which all that the one before it made can be whole."""
        if stage > self.stage:
            self.stage, self.floor = stage, 1 + max(self.made.levels.values(), default=-1)
            self.made.floors += (self.floor,)

    def _lacks(self, node: ir.Node, ask: Ask) -> bool:
        """Whether inputs lie otherwise than asked, and note them."""
        name = str(node.name)
        level, runs = self.made.levels[name], name in self.made.decisions
        lacking = []
        for tensor, axis in ask.inputs.items():
            placement = self.made.placements.get(tensor)
            used = runs and placement is not None and self.shard_level[tensor] == level and self._usable(node, tensor)
            if axis is None or (used and isinstance(placement, Sharded) and _lies(placement, axis)):
                continue
            lacking.append((tensor, axis))
        if not lacking:
            return False
        data = data_inputs(node, self.made.constants)
        asked = {tensor for tensor, axis in ask.inputs.items() if axis is not None}
        first = max((self._least_level(one, one in asked) for one in data), default=0)
        for tensor, axis in lacking:
            size = self.fixed.get(tensor, ())
            told = axis.axis < len(size) and size[axis.axis] is not None
            if axis.merged or not (told or self._of_a_weight(node, ask)):
                self.wrong.append(
                    f"node {ask.label} divides axis {axis.axis} of {tensor}, whose size is not the same for all data; "
                    "rows are dealt by --workers"
                )
                return True
            self.unmet.append((name, tensor, axis.axis, first))
        return True

    def _least_level(self, name: str, divided: bool) -> int:
        if name not in self.made.placements:
            return max(self.floor, self.whole_level[name])
        divided = divided and self._made_in[name] == self.stage
        return self.shard_level[name] if divided else self.shard_level[name] + 1

    @staticmethod
    def _of_a_weight(node: ir.Node, ask: Ask) -> bool:
        """Whether the size along which data is divided is that of a weight of the node."""
        return bool(ask.weights) and (rule := rule_of(node)) is not None and rule.weight is not None

    def _check(self, node: ir.Node, ask: Ask, decision: Decision | None) -> None:
        """Note where the node does not do what it asks for."""
        name, shards = str(node.name), self.context.shards
        if decision is None:
            why = self.barred.get(name) or self.made.kept_whole.get(name)
            what = ", ".join(f"axis {axis} of {name_at(node, at)}" for at, axis in ask.weights.items())
            said = f"{what} divided" if what else "divided tensors"
            self.wrong.append(
                f"node {ask.label}, {node.op_type} with {said} over {shards} shards, cannot run so here"
                + (f" ({why})" if why else "")
            )
            return
        for position, axis in ask.weights.items():
            part = decision.slices.get(position)
            if part is None or part.axis != axis:
                found = "stays whole" if part is None else f"is divided along axis {part.axis}"
                self.wrong.append(
                    f"node {ask.label} asks for axis {axis} of {name_at(node, position)}, which with its other "
                    f"inputs {found}"
                )
        for tensor, spec in ask.outputs.items():
            placement = decision.outputs.get(tensor)
            if spec is None or (isinstance(placement, Sharded) and _lies(placement, spec)):
                continue
            comes = f"divided along axis {placement.axis}" if isinstance(placement, Sharded) else "as terms of a sum"
            self.wrong.append(
                f"node {ask.label} asks for axis {spec.axis} of its output {tensor}, which comes out {comes}"
            )
