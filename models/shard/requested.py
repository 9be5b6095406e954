"""What each node of a loaded graph is asked for by the model's annotations: axes counted from 0, sizes checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from beamsplit.models.shard.annotation import TREES_KEY, Annotation, AxisSpec, WrongSpecError
from beamsplit.models.shard.propagate import constant_shapes, data_inputs
from beamsplit.models.shard.rules import rule_of
from beamsplit.models.shard.trees import PLAIN
from beamsplit.models.shard.weights import ELEMENTWISE, constant_names


@dataclass
class Ask:
    """What one node's annotation asks for, axes counted from 0."""

    label: str
    inputs: dict[str, AxisSpec | None] = field(default_factory=dict)
    """Data inputs by tensor name; None is whole."""

    weights: dict[int, int] = field(default_factory=dict)
    """Axis of constant inputs that are divided, by position."""

    outputs: dict[str, AxisSpec | None] = field(default_factory=dict)
    trees: bool = False

    @property
    def divides(self) -> bool:
        """Whether the node must run on shards."""
        given = (*self.inputs.values(), *self.outputs.values())
        return self.trees or bool(self.weights) or any(axis is not None for axis in given)


def divided_trees(graph: ir.Graph) -> tuple[str, ...]:
    """Names of the nodes whose trees are to be divided, as long as the graph is as it was loaded."""
    return tuple(str(node.name) for node in graph if node.metadata_props.get(TREES_KEY) == "trees")


def order_by_stage(annotation: Annotation, graph: ir.Graph) -> dict[str, int]:
    """Sort the nodes by their `pipeline_stage`; the stage of each, by name, numbered anew from 0 without gaps.

    A node without one goes where what it reads is made.

    Raises:
        WrongSpecError: a node reads from a later stage.
    """
    constants = constant_names(graph)
    first = min((one.stage for one in annotation.nodes.values() if one.stage is not None), default=0)
    made: dict[str, tuple[int, str]] = {}
    said: dict[str, int] = {}
    for node in graph:
        name, outputs = str(node.name), [str(output.name) for output in node.outputs if output.name]
        if all(output in constants for output in outputs):
            continue
        annotated = annotation.nodes.get(next(iter(outputs), ""))
        latest = max((one for one in data_inputs(node, constants) if one in made), key=lambda t: made[t][0], default="")
        least = made[latest][0] if latest else first
        stage = least if annotated is None or annotated.stage is None else annotated.stage
        if annotated is not None and stage < least:
            raise WrongSpecError(
                f"node {annotated.label} is in stage {stage}, but it reads {latest}, which node {made[latest][1]} "
                f"makes in stage {least}"
            )
        said[name] = stage
        made |= dict.fromkeys(outputs, (stage, name if annotated is None else annotated.label))
    numbers = {stage: number for number, stage in enumerate(sorted(set(said.values())))}
    found = {name: numbers[stage] for name, stage in said.items()}
    if len(numbers) > 1:
        nodes = sorted(graph, key=lambda node: found.get(str(node.name), -1))
        graph.remove(nodes)
        graph.extend(nodes)
    return found


def asks_of(
    annotation: Annotation, graph: ir.Graph, shapes: Mapping[str, Sequence[int]], trees: Sequence[str] = ()
) -> dict[str, Ask]:
    """What is asked for of each node, by name.

    Args:
        annotation: of the model.
        graph: of the model, loaded.
        shapes: of all its tensors on a sample.
        trees: from `divided_trees`.

    Raises:
        WrongSpecError: an axis or a size is not the tensor's.
    """
    constants = constant_names(graph)
    shapes = {**shapes, **constant_shapes(graph)}
    sizes = _Sizes(shapes, fixed_shapes(graph), annotation.shards)
    asks: dict[str, Ask] = {}
    made: dict[str, AxisSpec] = {}
    for node in graph:
        name = str(node.name)
        said = annotation.nodes.get(next((str(o.name) for o in node.outputs if o.name), ""))
        inputs = [str(value.name) for value in node.inputs if value is not None]
        tensors = {one: made[one] for one in inputs if one in made} | dict(said.tensors if said is not None else {})
        label = name if said is None else said.label
        if all(str(output.name) in constants for output in node.outputs):
            made |= _made_of_weights(node, label, tensors, shapes)
        elif tensors:
            asks[name] = _ask(node, label, tensors, constants, sizes)
        if node.domain == "ai.onnx.ml" and any(name == one or name.startswith(f"{one}{PLAIN}") for one in trees):
            asks.setdefault(name, Ask(name)).trees = True
    return {name: ask for name, ask in asks.items() if ask.inputs or ask.outputs or ask.divides}


@dataclass(frozen=True)
class _Sizes:
    """What specs are held against."""

    shapes: Mapping[str, Sequence[int]]
    """Of all tensors on a sample."""

    fixed: Mapping[str, Sequence[int | None]]
    """Sizes that are the same for all data."""

    shards: int

    def checked(self, label: str, tensor: str, spec: AxisSpec) -> AxisSpec:
        """A node's spec with its axis counted from the front.

        Raises:
            WrongSpecError: the axis or a size is not the tensor's.
        """
        shape = self.shapes.get(tensor)
        if shape is None:
            raise WrongSpecError(f"node {label} divides {tensor}, which is no tensor of known shape")
        if not -len(shape) <= spec.axis < len(shape):
            raise WrongSpecError(
                f"node {label} divides axis {spec.axis} of {tensor}, which has {len(shape)} axes ({list(shape)})"
            )
        axis = spec.axis % len(shape)
        size = self.fixed[tensor][axis] if tensor in self.fixed else None
        told = [one for one in spec.sizes if one is not None]
        if size is not None and len(told) == len(spec.sizes) and told and prod(told) != size:
            raise WrongSpecError(f"node {label} says axis {axis} of {tensor} is {prod(told)} long, and it is {size}")
        if size is not None and size < self.shards:
            raise WrongSpecError(
                f"node {label} divides axis {axis} of {tensor}, {size} long, into {self.shards} shards"
            )
        return AxisSpec(axis, spec.merged, spec.sizes)


def _made_of_weights(
    node: ir.Node, label: str, tensors: Mapping[str, AxisSpec | None], shapes: Mapping[str, Sequence[int]]
) -> dict[str, AxisSpec]:
    """How what is computed from weights alone is divided, where its node says so: the layer that uses it divides it."""
    output, first = str(node.outputs[0].name), name_at(node, 0) if node.inputs else ""
    told = tensors.get(output)
    if told is not None:
        return {output: told}
    spec = tensors.get(first)
    if spec is None:
        return {}
    rank = len(shapes[first])
    if node.op_type == "Transpose":
        perm = list(node.attributes.get_ints("perm", tuple(range(rank))[::-1]) or ())
        return {output: AxisSpec(perm.index(spec.axis % rank), spec.merged, spec.sizes)}
    if node.op_type not in ELEMENTWISE:
        raise WrongSpecError(
            f"node {label} divides {first}, but {node.op_type} of weights is not divided here; say it of {output}"
        )
    return {output: AxisSpec(spec.axis % rank, spec.merged, spec.sizes)}


def _ask(
    node: ir.Node,
    label: str,
    tensors: Mapping[str, AxisSpec | None],
    constants: frozenset[str],
    sizes: _Sizes,
) -> Ask:
    ask = Ask(label)
    for tensor, axis in tensors.items():
        checked = None if axis is None else sizes.checked(label, tensor, axis)
        if tensor in constants:
            if checked is not None and checked.merged:
                raise WrongSpecError(
                    f"node {label} divides axis {checked.axis} of {tensor}, into which another was merged, and only "
                    "data is divided so here"
                )
            if checked is not None:
                ask.weights |= {at: checked.axis for at, value in enumerate(node.inputs) if is_named(value, tensor)}
        elif any(is_named(value, tensor) for value in node.inputs):
            ask.inputs[tensor] = checked
        elif any(is_named(value, tensor) for value in node.outputs):
            ask.outputs[tensor] = checked
    _complete(node, ask, sizes.shapes)
    for tensor in constants.intersection(ask.inputs):
        del ask.inputs[tensor]
    return ask


def name_at(node: ir.Node, position: int) -> str:
    """Name of an input; empty where it is absent."""
    value = node.inputs[position]
    return "" if value is None else str(value.name)


def is_named(value: ir.Value | None, name: str) -> bool:
    """Whether it is the tensor of that name."""
    return value is not None and value.name == name


def _complete(node: ir.Node, ask: Ask, shapes: Mapping[str, Sequence[int]]) -> None:
    """How a node takes its data where only constants are told, as its rule says (`Rule.beside`)."""
    rule = rule_of(node)
    if not ask.weights or rule is None or rule.data_beside is None:
        return
    if rule.weight is not None and rule.weight not in ask.weights:
        return
    known = {at: shapes[str(one.name)] for at, one in enumerate(node.inputs) if one is not None and one.name in shapes}
    for at, axis in rule.data_beside(node, ask.weights, known).items():
        name = name_at(node, at)
        if name:
            ask.inputs.setdefault(name, None if axis is None else AxisSpec(axis))


def fixed_shapes(graph: ir.Graph) -> dict[str, tuple[int | None, ...]]:
    """Sizes that are the same for all data, of tensors whose rank is known."""
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    return {
        str(value.name): tuple(dim if isinstance(dim, int) else None for dim in value.shape)
        for value in values
        if value.shape is not None
    }
