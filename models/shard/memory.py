"""Memory that a session of a graph takes for what it computes, from the shapes of its tensors: `models.cost.arena`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from beamsplit.models.cost import arena
from beamsplit.models.cost.arena import ARENA_TIMES, ArenaNode
from beamsplit.models.shard.propagate import data_inputs
from beamsplit.models.shard.weights import constant_names


def arena_bytes(graph: ir.Graph, shapes: Mapping[str, Sequence[int]]) -> float:
    """Bytes that the arena of a session of the graph comes to hold.

    Args:
        graph: sorted, its tensors typed.
        shapes: of all tensors, by name; what has none does not count.
    """
    return ARENA_TIMES * live_bytes(graph, shapes)


def live_bytes(graph: ir.Graph, shapes: Mapping[str, Sequence[int]]) -> float:
    """Most bytes of tensors that nodes made and that are still read, at once; inputs are the caller's."""
    constants = constant_names(graph)
    nodes = [node for node in graph if not all(output.name in constants for output in node.outputs)]
    sizes = {str(value.name): _bytes(value, shapes) for node in nodes for value in node.outputs if value.name}
    steps = [
        ArenaNode(node.op_type, data_inputs(node, constants), [str(value.name) for value in node.outputs if value.name])
        for node in nodes
    ]
    return max(arena.live_bytes(steps, sizes, [str(value.name) for value in graph.outputs]), default=0.0)


def _bytes(value: ir.Value, shapes: Mapping[str, Sequence[int]]) -> float:
    shape = shapes.get(str(value.name))
    itemsize = 4.0 if value.dtype is None else value.dtype.itemsize
    return 0.0 if shape is None else float(np.prod(shape, dtype=np.float64)) * itemsize
