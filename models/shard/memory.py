"""Memory that one session takes for what it computes, from the sizes of its tensors: an estimate, nothing is run.

ONNX Runtime takes a tensor's place from its arena when a node makes it, and gives it back behind the last node that
reads it; elementwise nodes write over what nobody reads any more. What the arena ever took it keeps. The first run
takes piece by piece, and from the second on all pieces come out of one block that is as large as the most that lay
there at once (the memory pattern), beside the pieces of the first run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from models.shard.propagate import data_inputs
from models.shard.rules.elementwise import BROADCAST, UNARY
from models.shard.weights import constant_names

ARENA_TIMES = 2.0
"""Bytes of an arena for each that lies there at once: the pieces of the first run, and the block of the others."""

_IN_PLACE = frozenset(
    {*UNARY, *BROADCAST, "BatchNormalization", "Dropout", "Flatten", "Reshape", "Softmax", "Squeeze", "Unsqueeze"}
)


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
    last = {name: at for at, node in enumerate(nodes) for name in data_inputs(node, constants)}
    last |= {str(value.name): len(nodes) for value in graph.outputs}
    held: dict[str, float] = {}
    most = 0.0
    for at, node in enumerate(nodes):
        made = {str(value.name): _bytes(value, shapes) for value in node.outputs if value.name}
        given = data_inputs(node, constants) if node.op_type in _IN_PLACE else []
        over = next((name for name in given if name in held and last[name] == at), None)
        first = next(iter(made), None)
        if over is not None and first is not None and held[over] == made[first]:
            del held[over]
        held |= made
        most = max(most, sum(held.values()))
        held = {name: size for name, size in held.items() if last.get(name, -1) > at}
    return most


def _bytes(value: ir.Value, shapes: Mapping[str, Sequence[int]]) -> float:
    shape = shapes.get(str(value.name))
    itemsize = 4.0 if value.dtype is None else value.dtype.itemsize
    return 0.0 if shape is None else float(np.prod(shape, dtype=np.float64)) * itemsize
