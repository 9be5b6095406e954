"""Follows splits through a graph: which nodes run on shards, which stay whole, and where results are joined.

    x whole -> Gemm(column) -> split -> Relu -> split -> Gemm(row) -> partial -> join -> whole -> ...
    |_____ whole step 0 ___||___________ sharded step 0 _____________________||____ whole step 1

A value's level counts the joins before it. Sharded nodes of level L run after the whole nodes of level L, and what is
joined of theirs has the level L + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from beamsplit.models.shard.cutting import Cutting
from beamsplit.models.shard.decision import Decision, GraphFacts, RuleContext
from beamsplit.models.shard.placement import REPLICATED, NeedsGranule, NeedsParts, Placement, Replicated, Sharded
from beamsplit.models.shard.rules import decide
from beamsplit.models.shard.weights import CannotSlice, Constants, constant_names, weight_bytes


@dataclass
class Sharding:
    """What becomes of each node of a graph over `shards` shards."""

    shards: int
    constants: frozenset[str]
    """Weights and what is computed from weights alone; part of whatever uses them."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    """Of the nodes that run on shards, by node name; the others stay whole."""

    levels: dict[str, int] = field(default_factory=dict)
    """Level of each node, by node name."""

    placements: dict[str, Placement] = field(default_factory=dict)
    """Of each tensor that is not whole, before any join."""

    joined: dict[str, int] = field(default_factory=dict)
    """Level of the whole tensor that is joined from the shards' results, by tensor name."""

    kept_whole: dict[str, str] = field(default_factory=dict)
    """Nodes with weights that stay whole, by name, and why."""

    floors: tuple[int, ...] = ()
    """Level at which each stage but the first begins, where the model is split by depth too."""

    @property
    def sharded_bytes(self) -> int:
        """Bytes of weights that are divided over the shards."""
        return sum(decision.sharded_bytes for decision in self.decisions.values())


def shard_graph(
    graph: ir.Graph,
    shards: int,
    shapes: Mapping[str, Sequence[int]],
    opsets: Mapping[str, int],
    least_bytes: int = 1 << 16,
) -> Sharding:
    """Decide for each node.

    Args:
        graph: sorted, every node named.
        shards: how many.
        shapes: of tensors on a sample, by name; a node whose shapes are missing stays whole.
        opsets: versions by domain.
        least_bytes: a split begins only at layers with so many bytes of weights.
    """
    cutting = Cutting()
    while True:
        try:
            return Pass(graph, shards, shapes, opsets, least_bytes, cutting).run()
        except (NeedsGranule, NeedsParts) as need:
            cutting.settle(need)


class Pass:
    """One walk through the graph that cuts where it is told."""

    def __init__(
        self,
        graph: ir.Graph,
        shards: int,
        shapes: Mapping[str, Sequence[int]],
        opsets: Mapping[str, int],
        least_bytes: int,
        cutting: Cutting,
    ):
        self.graph, self.least_bytes, self.barred = graph, least_bytes, cutting.barred
        constants = constant_names(graph)
        self.made = Sharding(shards, constants)
        self.shapes = {**shapes, **constant_shapes(graph)}
        self.seen: dict[str, Placement] = {}
        self.context = RuleContext(shards, self.seen, GraphFacts(self.shapes, constants, opsets), cutting)
        self.whole_level: dict[str, int] = {str(value.name): 0 for value in graph.inputs}
        self.shard_level: dict[str, int] = {}

    def run(self) -> Sharding:
        """Decide for each node, and join what the model gives."""
        for node in self.graph:
            if not all(output.name in self.made.constants for output in node.outputs):
                self._place(node)
        for value in self.graph.outputs:
            self._join(str(value.name))
        return self.made

    def _place(self, node: ir.Node) -> None:
        data = data_inputs(node, self.made.constants)
        decision = self._decide(node, data)
        if decision is None:
            for name in data:
                self._join(name)
            self.seen.clear()
            decision = self._try(node)
        name = str(node.name)
        if decision is None:
            self._stay_whole(node, data)
            return
        splits = [one for one in data if not isinstance(self.seen.get(one, REPLICATED), Replicated)]
        level = self.shard_level[splits[0]] if splits else max((self.whole_level[one] for one in data), default=0)
        self.made.decisions[name], self.made.levels[name] = decision, level
        for output, placement in decision.outputs.items():
            self.made.placements[output] = placement
            self.shard_level[output] = level

    def _usable(self, node: ir.Node, name: str) -> bool:
        """Whether the node may use the input as the shards have it."""
        return name in self.made.placements

    def _rule(self, node: ir.Node) -> Decision | None:
        return decide(node, self.context)

    def _allowed(self, node: ir.Node, decision: Decision, begins: bool) -> bool:
        """Whether the node may run on shards so."""
        return not begins or decision.sharded_bytes >= self.least_bytes

    def _decide(self, node: ir.Node, data: Sequence[str]) -> Decision | None:
        """The rule's word with the inputs as they lie, if they meet on one level."""
        split = [name for name in data if self._usable(node, name)]
        self.seen.clear()
        if split:
            level = max(self.shard_level[name] for name in split)
            for name in split:
                if self.shard_level[name] == level:
                    self.seen[name] = self.made.placements[name]
            rest = [name for name in data if name not in self.seen]
            if any(self._level_if_whole(name) > level for name in rest):
                return None
        return self._try(node)

    def _level_if_whole(self, name: str) -> int:
        return self.shard_level[name] + 1 if name in self.made.placements else self.whole_level[name]

    def _try(self, node: ir.Node) -> Decision | None:
        name = str(node.name)
        begins = all(isinstance(placement, Replicated) for placement in self.seen.values())
        if begins and name in self.barred:
            return None
        decision = self._rule(node)
        if decision is None or not self._allowed(node, decision, begins):
            return None
        trial = Constants(0)
        try:
            for position, part in decision.slices.items():
                value = node.inputs[position]
                if value is not None:
                    trial.slice(value, part.axis, part.pieces, None, part.sections)
        except CannotSlice as error:
            if any(part.sections for part in decision.slices.values()) and name not in self.context.not_in_parts:
                self.context.not_in_parts.add(name)
                return self._try(node)
            for placement in self.seen.values():
                if error.granule and isinstance(placement, Sharded) and placement.pieces == part.pieces:
                    self.context.cut_at(placement, error.granule)
            self.made.kept_whole[name] = str(error)
            return None
        for other in data_inputs(node, self.made.constants):
            if other not in self.seen:
                self._join(other)
        self.made.kept_whole.pop(name, None)
        return decision

    def _stay_whole(self, node: ir.Node, data: Sequence[str]) -> None:
        name = str(node.name)
        level = max((self.whole_level[one] for one in data), default=0)
        self.made.levels[name] = level
        for output in node.outputs:
            self.whole_level[str(output.name)] = level
        held = sum(
            weight_bytes(value) for value in node.inputs if value is not None and value.name in self.made.constants
        )
        told = self.barred.get(name) or self.context.reasons.get(name)
        if held >= self.least_bytes or told:
            reason = told or f"{node.op_type} has no place to be divided into {self.made.shards}"
            self.made.kept_whole.setdefault(name, reason)

    def _join(self, name: str) -> None:
        if name in self.made.placements and name not in self.made.joined:
            self.made.joined[name] = self.whole_level[name] = self.shard_level[name] + 1


def data_inputs(node: ir.Node, constants: frozenset[str]) -> list[str]:
    """Names of the inputs that are no constants, captures of bodies included, each once."""
    names = [str(value.name) for value in node.inputs if value is not None]
    return [name for name in dict.fromkeys([*names, *captured(node)]) if name not in constants]


def captured(node: ir.Node) -> list[str]:
    """Names of the outer tensors that the node's bodies use, weights too."""
    names: list[str] = []
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            bodies = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else attribute.value
            for body in bodies:
                names += _captured_by(body)
    return names


def _captured_by(body: ir.Graph) -> list[str]:
    inside = {value.name for value in body.inputs} | set(body.initializers)
    used: list[str] = []
    for node in body:
        used += [name for name in data_inputs(node, frozenset()) if name not in inside]
        inside |= {output.name for output in node.outputs}
    return used + [str(value.name) for value in body.outputs if value.name not in inside]


def constant_shapes(graph: ir.Graph) -> dict[str, tuple[int, ...]]:
    """Of the weights, by name."""
    shapes = {}
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            shapes[name] = tuple(int(size) for size in value.const_value.shape.numpy())
    return shapes
