"""What each node of a loaded graph reads and makes, bodies of If, Loop and Scan included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

ASSUMED = 16
"""Size taken for a dimension that is not known, where tensors are compared by size."""

_KEPT_ATTRIBUTE = 1024
"""Bytes from which the attributes of a node (the tables of a tree ensemble) count as a weight of it."""


@dataclass(frozen=True)
class NodeView:
    """A node seen from outside."""

    node: ir.Node

    index: int
    """Its place in the topological order."""

    reads: tuple[str, ...]
    """Tensors that are no weights: its inputs, and what its bodies capture; once each."""

    weights: tuple[str, ...]
    """Weights that it or its bodies read; its own name where its attributes are large."""

    makes: tuple[str, ...]
    """Its outputs."""


def parts_of(model: ir.Model) -> dict[str, NodeView]:
    """Every node of the graph by name, in topological order."""
    parts = {}
    for index, node in enumerate(model.graph):
        read = {value.name: value for value in _values_read(node, model.graph) if value.name}
        weights = [name for name, value in read.items() if value.is_initializer()]
        reads = tuple(name for name in read if name not in set(weights))
        name = str(node.name)
        if attribute_bytes(node) >= _KEPT_ATTRIBUTE:
            weights.append(name)
        makes = tuple(str(value.name) for value in node.outputs if value.name)
        parts[name] = NodeView(node, index, reads, tuple(weights), makes)
    return parts


def _values_read(node: ir.Node, graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        for inner in ir.traversal.RecursiveGraphIterator(body):
            yield from (value for value in inner.inputs if value is not None and value.graph is graph)


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a node: branches of If, bodies of Loop and Scan."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def attribute_bytes(node: ir.Node) -> int:
    """Bytes of the lists among a node's attributes."""
    total = 0
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
            total += len(attribute.value) * (8 if attribute.type == ir.AttributeType.INTS else 4)
        elif attribute.type == ir.AttributeType.STRINGS:
            total += sum(len(text) for text in attribute.value)
        elif attribute.type == ir.AttributeType.TENSOR:
            total += attribute.as_tensor().nbytes
    return total


def weight_bytes(model: ir.Model, parts: dict[str, NodeView]) -> dict[str, int]:
    """Bytes of every weight of the graph, and of the nodes whose attributes count as one."""
    sizes = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.STRING:
            sizes[name] = sum(len(text) for text in tensor.numpy().reshape(-1))
        else:
            sizes[name] = 0 if tensor is None else tensor.nbytes
    used = {weight for part in parts.values() for weight in part.weights}
    sizes |= {name: attribute_bytes(part.node) for name, part in parts.items() if name in used}
    return sizes


def value_bytes(value: ir.Value, assumed: int = ASSUMED) -> float:
    """Bytes of a tensor, with `assumed` for each unknown dimension; of an unknown rank, as of three such."""
    shape = [assumed] * 3 if value.shape is None else [d if isinstance(d, int) else assumed for d in value.shape]
    dtype = value.dtype
    width = 4.0 if dtype is None or dtype == ir.DataType.STRING else dtype.itemsize
    return float(math.prod(shape) * width)
