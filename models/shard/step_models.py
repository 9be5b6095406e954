"""The models of a sharded graph: whole steps and sharded ones in turn, joined by Concat or Sum.

    whole 0 -> +-> shard 0 of step 0 -+-> join, whole 1 -> +-> shard 0 of step 1 -+-> join, whole 2
               +-> shard 1 of step 0 -+                    +-> shard 1 of step 1 -+

The join is the beginning of the whole step behind: its inputs are named `TENSOR@shardK`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, Slice
from beamsplit.models.shard.placement import Partial, Sharded, Sizes, bounds
from beamsplit.models.shard.propagate import Sharding, captured, data_inputs
from beamsplit.models.shard.weights import Constants


@dataclass(frozen=True)
class StepModels:
    """One step of a sharded model: one model, or one a shard."""

    level: int
    sharded: bool
    models: tuple[ir.Model, ...]
    """One a shard, or the only one of a whole step."""

    inputs: tuple[str, ...]
    """Tensors that each model reads; of a whole step also `TENSOR@shardK` of what it joins."""

    outputs: tuple[str, ...]
    """Tensors that each model makes; shard K's are known behind the step as `TENSOR@shardK`."""


def part_name(tensor: str, shard: int) -> str:
    """What one shard's part of a tensor is called."""
    return f"{tensor}@shard{shard}"


def step_models(model: ir.Model, sharding: Sharding) -> tuple[StepModels, ...]:
    """The steps in the order in which they run; running them all gives what the whole model gives."""
    graph = model.graph
    last = max([*sharding.levels.values(), *sharding.joined.values()], default=0)
    steps: list[StepModels] = []
    needed_later = _needs(graph, sharding, last)
    for level in range(last + 1):
        whole = _whole_stage(model, sharding, level, needed_later)
        if whole is not None:
            steps.append(whole)
        sharded = [node for node in graph if _runs_on_shards(node, sharding, level)]
        if sharded:
            steps.append(_sharded_step(model, sharding, level, sharded))
    return tuple(steps)


def _runs_on_shards(node: ir.Node, sharding: Sharding, level: int) -> bool:
    return str(node.name) in sharding.decisions and sharding.levels[str(node.name)] == level


def _is_whole(node: ir.Node, sharding: Sharding, level: int) -> bool:
    name = str(node.name)
    return name not in sharding.decisions and sharding.levels.get(name) == level


def _needs(graph: ir.Graph, sharding: Sharding, last: int) -> list[set[str]]:
    """Of each level: whole tensors that its shards, later levels or the caller read."""
    needs: list[set[str]] = [set() for _ in range(last + 1)]
    outputs = {str(value.name) for value in graph.outputs}
    for at in range(last + 1):
        needs[at] |= outputs
        for node in graph:
            level = sharding.levels.get(str(node.name))
            if level is None:
                continue
            on_shards = str(node.name) in sharding.decisions
            if level > at or (level == at and on_shards):
                needs[at].update(data_inputs(node, sharding.constants))
            if on_shards and level >= at:
                again = _dequantised(graph, sharding, data_inputs(node, sharding.constants))
                needs[at].update(name for one in again.values() for name in data_inputs(one, sharding.constants))
    return needs


def _whole_stage(model: ir.Model, sharding: Sharding, level: int, needs: Sequence[set[str]]) -> StepModels | None:
    graph = model.graph
    nodes = [node for node in graph if _is_whole(node, sharding, level)]
    joins = [name for name, at in sharding.joined.items() if at == level]
    constant_outputs = [str(v.name) for v in graph.outputs if v.name in sharding.constants] if level == 0 else []
    if not nodes and not joins and not constant_outputs:
        return None
    build = _Builder(model, Constants(0))
    inputs: list[str] = []
    for name in joins:
        value = _value(graph, name)
        parts = [build.input(part_name(name, shard), value) for shard in range(sharding.shards)]
        inputs += [part_name(name, shard) for shard in range(sharding.shards)]
        build.values[name] = build.join(sharding.placements[name], parts, name, value)
    for node in nodes:
        for name in data_inputs(node, sharding.constants):
            if name not in build.values:
                build.input(name, _value(graph, name))
                inputs.append(name)
        build.copy(node)
    made = [name for name in build.values if name not in inputs]
    outputs = [name for name in made if name in needs[level]] + constant_outputs
    return StepModels(level, False, (build.model(inputs, outputs),), tuple(inputs), tuple(outputs))


def _sharded_step(model: ir.Model, sharding: Sharding, level: int, nodes: Sequence[ir.Node]) -> StepModels:
    graph = model.graph
    made = {str(output.name) for node in nodes for output in node.outputs}
    read = [name for node in nodes for name in data_inputs(node, sharding.constants)]
    again = _dequantised(graph, sharding, read)
    read = [one for name in read for one in (data_inputs(again[name], sharding.constants) if name in again else [name])]
    inputs = [name for name in dict.fromkeys(read) if name not in made]
    outputs = [str(o.name) for node in nodes for o in node.outputs if sharding.joined.get(str(o.name)) == level + 1]
    models = []
    for shard in range(sharding.shards):
        build = _Builder(model, Constants(shard))
        for name in inputs:
            build.input(name, _value(graph, name))
        for node in again.values():
            build.copy(node)
        for node in nodes:
            build.sharded(node, sharding.decisions[str(node.name)])
        models.append(build.model(inputs, outputs))
    return StepModels(level, True, tuple(models), tuple(inputs), tuple(outputs))


def _dequantised(graph: ir.Graph, sharding: Sharding, names: Sequence[str]) -> dict[str, ir.Node]:
    """Of the whole tensors among these, what dequantises data: each shard does it anew.

    Bytes cross instead of floats, and ONNX Runtime sees an integer layer as it is in the whole model: of a layer whose
    weight alone is quantised it makes another one, which rounds its data.
    """
    found = {}
    for name in dict.fromkeys(names):
        node = _value(graph, name).producer()
        if node is not None and node.op_type == "DequantizeLinear" and str(node.name) not in sharding.decisions:
            found[name] = node
    return found


def _value(graph: ir.Graph, name: str) -> ir.Value:
    for value in graph.inputs:
        if value.name == name:
            return value
    for node in graph:
        for output in node.outputs:
            if output.name == name:
                return output
    raise KeyError(name)


class _Builder:
    """The graph of one step's model as it grows; a `Maker` for rules."""

    def __init__(self, model: ir.Model, constants: Constants):
        self._whole = model
        self._constants = constants
        self.values: dict[str, ir.Value] = {}
        self._nodes: list[ir.Node] = []
        self._made = 0

    def input(self, name: str, like: ir.Value) -> ir.Value:
        """An input of the step, of the type of a tensor of the whole model; its sizes are left open."""
        rank = None if like.shape is None else len(like.shape)
        shape = None if rank is None else ir.Shape([None] * rank)
        made = self.values[name] = ir.Value(name=name, type=like.type, shape=shape)
        return made

    def join(self, placement: object, parts: Sequence[ir.Value], name: str, like: ir.Value) -> ir.Value:
        """The whole tensor of the shards' parts, always added in the same order."""
        if isinstance(placement, Sharded):
            return self._concat(placement, parts, name)
        if isinstance(placement, Sizes):
            return self._whole_sizes(placement, parts[0], name)
        if not isinstance(placement, Partial):
            raise TypeError(f"{name} is whole on each shard: there is nothing to join")
        total = parts[0]
        # ONNX Runtime has no Add of before opset 7.
        add = "Add" if self._whole.graph.opset_imports.get("", 1) >= 7 else "Sum"
        for number, part in enumerate(parts[1:], 1):
            total = self._keep(add, [total, part], name if number == len(parts) - 1 else self._fresh())
        return total

    def _concat(self, placement: Sharded, parts: Sequence[ir.Value], name: str) -> ir.Value:
        if placement.sections:
            # q0 | k0 | v0 | q1 | k1 | v1 -> q0 | q1 | k0 | k1 | v0 | v1
            each = bounds([length for one in zip(*placement.sections, strict=True) for length in one])
            count = len(placement.sections)
            order = [np.arange(*each[at]) for section in range(count) for at in range(section, len(each), count)]
            together = self.node("Concat", parts, axis=placement.axis)
            return self._keep("Gather", [together, self.constant(np.concatenate(order))], name, axis=placement.axis)
        if placement.outer == 1:
            return self._keep("Concat", parts, name, axis=placement.axis)
        # [outer x piece, ...] -> [outer, piece, ...], side by side, -> [outer x all pieces, ...]
        axis = placement.axis
        rank = len(parts[0].shape or ())
        sizes = self.node("Shape", [parts[0]])
        # Not Shape from one axis to another, which came with opset 15.
        before, behind = (
            [self.node("Gather", [sizes, self.constant(np.arange(*ends))], axis=0)] if ends[0] < ends[1] else []
            for ends in ((0, axis), (axis + 1, rank))
        )
        apart = []
        for part, piece in zip(parts, placement.pieces, strict=True):
            target = self.node("Concat", [*before, self.constant(np.array([-1, piece])), *behind], axis=0)
            apart.append(self.node("Reshape", [part, target]))
        whole = self.node("Concat", apart, axis=axis + 1)
        return self._keep(
            "Reshape", [whole, self.node("Concat", [*before, self.constant(np.array([-1])), *behind], axis=0)], name
        )

    def _whole_sizes(self, placement: Sizes, part: ir.Value, name: str) -> ir.Value:
        if not placement.positions:
            return self._keep("Identity", [part], name)
        vector = self.node("Reshape", [part, self.constant(np.array([-1]))])
        positions = self.constant(np.array([position for position, _ in placement.positions]))
        kind = np.int64 if part.dtype is None else part.dtype.numpy()
        sizes = self.constant(np.array([sum(pieces) for _, pieces in placement.positions], kind))
        scatter = "ScatterElements" if self._whole.graph.opset_imports.get("", 1) >= 11 else "Scatter"
        written = self.node(scatter, [vector, positions, sizes], axis=0)
        return self._keep("Reshape", [written, self.node("Shape", [part])], name)

    def copy(self, node: ir.Node) -> None:
        """The node as it is in the whole model."""
        for name in captured(node):
            # A body finds what it captures by name: the weights among it must be in the outer graph.
            if name not in self.values:
                self._constants.whole(_value_or_initializer(self._whole.graph, name))
        self._add(node, [self._given(value) for value in node.inputs], dict(node.attributes))

    def sharded(self, node: ir.Node, decision: Decision) -> None:
        """The node as the shard has it."""
        shard = self._constants.shard
        inputs: list[ir.Value | None] = []
        for position, value in enumerate(node.inputs):
            if value is None:
                inputs.append(None)
            elif position in decision.first_only and shard:
                zero = np.zeros(1, value.dtype.numpy()) if decision.zero_elsewhere and value.dtype else None
                inputs.append(None if zero is None else self.constant(zero))
            elif position in decision.constants:
                inputs.append(self.constant(np.asarray(decision.constants[position][shard], np.int64)))
            elif position in decision.slices:
                part = decision.slices[position]
                inputs.append(self._constants.slice(value, part.axis, part.pieces, None, part.sections))
            elif position in decision.taken:
                inputs.append(self._taken(value, decision.taken[position]))
            else:
                inputs.append(self._given(value))
        while inputs and inputs[-1] is None:
            inputs.pop()
        if decision.replace is not None:
            for output, made in zip(node.outputs, decision.replace(self, shard, inputs), strict=True):
                self.values[str(output.name)] = self._keep("Identity", [made], str(output.name))
            return
        attributes = dict(node.attributes)
        for name, each in decision.attributes.items():
            attributes[name] = ir.convenience.convert_attribute(name, each[shard])
        self._add(node, inputs, attributes)

    def _taken(self, value: ir.Value, part: Slice) -> ir.Value:
        """This shard's slice of data that comes whole."""
        start, stop = bounds(part.pieces)[self._constants.shard]
        # Not Slice, which is another operator before opset 10.
        return self.node("Gather", [self._given(value), self.constant(np.arange(start, stop))], axis=part.axis)

    def _given(self, value: ir.Value | None) -> ir.Value | None:
        if value is None:
            return None
        found = self.values.get(str(value.name))
        return self._constants.whole(value) if found is None else found

    def _add(self, node: ir.Node, inputs: Sequence[ir.Value | None], attributes: Mapping[str, ir.Attr]) -> None:
        outputs = [ir.Value(name=output.name, type=output.type) for output in node.outputs]
        made = ir.Node(node.domain, node.op_type, inputs, list(attributes.values()), outputs=outputs, name=node.name)
        self._nodes.append(made)
        self.values.update({str(output.name): output for output in outputs if output.name})

    def _fresh(self) -> str:
        self._made += 1
        return f"shard/{self._made}"

    def _keep(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str, domain: str = "", **attributes: Any
    ) -> ir.Value:
        output = ir.Value(name=name)
        made = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        self._nodes.append(ir.Node(domain, op_type, inputs, made, outputs=[output], name=f"{op_type} {name}"))
        return output

    def node(self, op_type: str, inputs: Sequence[ir.Value | None], *, domain: str = "", **attributes: Any) -> ir.Value:
        """A node with one output; gives that."""
        return self._keep(op_type, inputs, self._fresh(), domain, **attributes)

    def constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        """An initializer."""
        return self._constants.add(self._fresh(), ir.Tensor(array))

    def model(self, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
        """The finished model."""
        results = []
        for name in outputs:
            value = self.values.get(name)
            if value is None:  # A constant that is an output of the whole model.
                value = self._constants.whole(_value_or_initializer(self._whole.graph, name))
            like = _value_or_initializer(self._whole.graph, name)
            if value.type is None:
                value.type = like.type
            if value.shape is None and like.shape is not None:
                value.shape = ir.Shape([None] * len(like.shape))
            results.append(value)
        graph = ir.Graph(
            [self.values[name] for name in inputs],
            results,
            nodes=[*self._constants.nodes, *self._nodes],
            initializers=list(self._constants.initializers.values()),
            opset_imports=dict(self._whole.graph.opset_imports),
            name=self._whole.graph.name,
        )
        return ir.Model(graph, ir_version=self._whole.ir_version, producer_name="beamsplit")


def _value_or_initializer(graph: ir.Graph, name: str) -> ir.Value:
    found = graph.initializers.get(name)
    return found if found is not None else _value(graph, name)
