"""Slices of weights, and of what is computed from weights alone.

q: int8 [384, 1536] -> Cast -> Mul -> w        a slice of w along axis 1 is made of a slice of q and of the scale,
s: float32 [1, 1536] ----------^               if the scale is not 1 long there
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.placement import NeedsGranule, Sharded, bounds, move_sharded

ELEMENTWISE = frozenset(
    {"Add", "Cast", "DequantizeLinear", "Div", "Identity", "Mul", "Neg", "Reciprocal", "Sqrt", "Sub"}
)
"""Operators whose result, computed from weights, is sliced as its first operand is."""

Sections = tuple[tuple[int, ...], ...]
"""Lengths of the slices in each of several tensors that lie behind one another."""

_RANDOM = frozenset({"RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"})
_WITH_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class CannotSlice(Exception):
    """The constant is computed in a way that has no slices along that axis; the message says which."""

    def __init__(self, why: str, granule: int = 0) -> None:
        super().__init__(why)
        self.granule = granule
        """Slices of whose multiples it has; 0 where it has none at all."""


def constant_names(graph: ir.Graph) -> frozenset[str]:
    """Names of the weights and of all tensors that are computed from weights alone."""
    inputs = {str(value.name) for value in graph.inputs}
    constants = set(graph.initializers) - inputs
    for node in graph:
        given = [value for value in node.inputs if value is not None]
        plain = all(attribute.type not in _WITH_BODIES for attribute in node.attributes.values())
        if given and plain and node.op_type not in _RANDOM and all(value.name in constants for value in given):
            constants.update(str(output.name) for output in node.outputs)
    return frozenset(constants)


def weight_bytes(value: ir.Value | None) -> int:
    """Bytes of the weights that a constant is computed from."""
    if value is None:
        return 0
    if value.const_value is not None:
        return int(value.const_value.nbytes)
    node = value.producer()
    return 0 if node is None else sum(weight_bytes(one) for one in node.inputs)


def node_bytes(node: ir.Node, constants: frozenset[str]) -> int:
    """Bytes of the weights that a node uses: those its constants are computed from, and the numbers of trees."""
    held = (weight_bytes(value) for value in node.inputs if value is not None and value.name in constants)
    return sum(held) + tree_bytes(node)


def held_bytes(graph: ir.Graph) -> int:
    """Bytes of a graph's initializers and of its trees."""
    stored = (value.const_value for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in stored if tensor is not None) + sum(map(tree_bytes, graph))


def tree_bytes(node: ir.Node) -> int:
    """Bytes of the numbers of a tree ensemble, which keeps them in its attributes; 0 for other nodes."""
    if node.domain != "ai.onnx.ml":
        return 0
    total = 0
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.FLOATS, ir.AttributeType.INTS):
            total += (4 if attribute.type == ir.AttributeType.FLOATS else 8) * len(attribute.value)
        elif attribute.type == ir.AttributeType.TENSOR:
            total += attribute.value.nbytes
    return total


class Constants:
    """The constants of one shard's graph: whole ones and slices, each made once."""

    def __init__(self, shard: int):
        self.shard = shard
        self.initializers: dict[str, ir.Value] = {}
        self.nodes: list[ir.Node] = []
        self._made: dict[str, ir.Value] = {}

    def add(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        """An initializer of the shard's graph."""
        if name not in self.initializers:
            kind = ir.TensorType(tensor.dtype)
            self.initializers[name] = ir.Value(
                name=name, type=kind, shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
            )
        return self.initializers[name]

    def whole(self, value: ir.Value) -> ir.Value:
        """The constant as it is in the whole model."""
        name = str(value.name)
        if value.const_value is not None:
            return self.add(name, value.const_value)
        if name not in self._made:
            node = _maker(value)
            self._keep(node, [None if one is None else self.whole(one) for one in node.inputs], name)
        return self._made[name]

    def slice(
        self,
        value: ir.Value,
        axis: int,
        pieces: tuple[int, ...],
        rank: int | None = None,
        sections: Sections = (),
    ) -> ir.Value:
        """This shard's slice of a constant along an axis, which is the constant itself where it is broadcast there.

        Args:
            value: a weight, or what elementwise nodes, Cast, Transpose, Reshape and DequantizeLinear make of weights.
            axis: from 0, of the result that the constant is broadcast to.
            pieces: lengths of all shards' slices.
            rank: of that result; the constant's own where None.
            sections: where several tensors lie behind one another and each is cut: the lengths in each.

        Raises:
            CannotSlice: it is computed in another way, or is not as long as the pieces are together.
        """
        if value.shape is None:
            raise CannotSlice(f"the rank of {value.name} is not known")
        own = len(value.shape)
        at = axis - ((rank or own) - own)
        if at < 0 or (value.shape[at] == 1 and sum(pieces) != 1):
            return self.whole(value)
        each = self._places(pieces, sections)
        name = f"{value.name}/{at}:" + "+".join(f"{start}:{stop}" for start, stop in each)
        tensor = value.const_value
        if tensor is not None:
            shape = [int(size) for size in tensor.shape.numpy()]
            if shape[at] != sum(pieces):
                raise CannotSlice(f"{value.name} is {shape[at]} long where {sum(pieces)} is wanted")
            shape[at] = pieces[self.shard]
            lazy = ir.LazyTensor(lambda: put_together(tensor, at, each), tensor.dtype, ir.Shape(shape), name=name)
            return self.add(name, lazy)
        if name not in self._made:
            node = _maker(value)
            self._keep(node, self._inputs(node, at, pieces, own, sections), name)
        return self._made[name]

    def _places(self, pieces: tuple[int, ...], sections: Sections) -> list[tuple[int, int]]:
        """(start, stop) of what is this shard's, of each section."""
        starts = [0, *accumulate(map(sum, sections))]
        ends = [bounds(one)[self.shard] for one in sections or (pieces,)]
        return [(before + start, before + stop) for before, (start, stop) in zip(starts, ends, strict=False)]

    def _keep(self, node: ir.Node, inputs: list[ir.Value | None], name: str) -> None:
        outputs = [ir.Value(name=name, type=node.outputs[0].type)]
        made = ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=outputs, name=f"make {name}"
        )
        self.nodes.append(made)
        self._made[name] = outputs[0]

    def _inputs(
        self, node: ir.Node, axis: int, pieces: tuple[int, ...], rank: int, sections: Sections
    ) -> list[ir.Value | None]:
        if node.domain in ("", "ai.onnx"):
            given = node.inputs
            if node.op_type in ELEMENTWISE and node.op_type != "DequantizeLinear":
                return [None if value is None else self.slice(value, axis, pieces, rank, sections) for value in given]
            if node.op_type == "Transpose" and given[0] is not None:
                perm = node.attributes.get_ints("perm", tuple(range(rank))[::-1]) or ()
                return [self.slice(given[0], perm[axis], pieces, None, sections)]
            if node.op_type == "Reshape" and given[0] is not None and not sections:
                return self._reshaped(given[0], node.outputs[0], axis, pieces)
            if node.op_type == "Unsqueeze" and given[0] is not None:
                return [
                    self.slice(given[0], axis - _added_before(node, axis, rank), pieces, None, sections),
                    *map(self._rest, given[1:]),
                ]
            block = node.attributes.get_int("block_size", 0) or 0
            if node.op_type == "DequantizeLinear" and given[0] is not None and block:
                return self._in_blocks(node, block, axis, pieces, sections)
            if node.op_type == "DequantizeLinear" and given[0] is not None:
                channels = (node.attributes.get_int("axis", 1) or 0) % rank
                scales = self._scales(given[1:], channels == axis, pieces, sections)
                return [self.slice(given[0], axis, pieces, None, sections), *scales]
        raise CannotSlice(f"{node.op_type} of weights is not sliced")

    def _in_blocks(
        self, node: ir.Node, block: int, axis: int, pieces: tuple[int, ...], sections: Sections
    ) -> list[ir.Value | None]:
        """Inputs of a DequantizeLinear with a scale for each block: data, scales, zero points."""
        data, *scales = node.inputs
        assert data is not None and data.shape is not None
        own = pieces
        if axis == (node.attributes.get_int("axis", 1) or 0) % len(data.shape):
            if sections or any(piece % block for piece in pieces):
                raise CannotSlice(
                    f"{data.name} is quantised in blocks of {block}, which are not cut", 0 if sections else block
                )
            own = tuple(piece // block for piece in pieces)
        cut_alike = [None if value is None else self.slice(value, axis, own, None, sections) for value in scales]
        return [self.slice(data, axis, pieces, None, sections), *cut_alike]

    def _reshaped(
        self, source: ir.Value, result: ir.Value, axis: int, pieces: tuple[int, ...]
    ) -> list[ir.Value | None]:
        """Inputs of a Reshape of weights that gives one piece of its result: a slice of its source, and the target."""
        before, behind = _sizes(source), _sizes(result)
        try:
            moved = move_sharded(Sharded(axis, pieces), behind, before)
        except NeedsGranule:
            moved = None
        if moved is None or moved.outer != 1:
            raise CannotSlice(f"Reshape of weights from {list(before)} to {list(behind)} is not sliced there")
        target = np.array([*behind[:axis], pieces[self.shard], *behind[axis + 1 :]])
        name = f"{result.name}/sizes/{axis}:{pieces[self.shard]}"
        return [self.slice(source, moved.axis, moved.pieces), self.add(name, ir.Tensor(target))]

    def _rest(self, value: ir.Value | None) -> ir.Value | None:
        return None if value is None else self.whole(value)

    def _scales(self, given: object, along: bool, pieces: tuple[int, ...], sections: Sections) -> list[ir.Value | None]:
        made: list[ir.Value | None] = []
        for value in given:  # type: ignore[attr-defined]
            per_channel = along and value is not None and value.shape is not None and len(value.shape) == 1
            whole = value is None or not per_channel
            made.append(self._rest(value) if whole else self.slice(value, 0, pieces, None, sections))
        return made


def _sizes(value: ir.Value) -> tuple[int, ...]:
    shape = () if value.shape is None else tuple(value.shape)
    known = tuple(size for size in shape if isinstance(size, int))
    if value.shape is None or len(known) != len(shape):
        raise CannotSlice(f"the shape of {value.name} is not known")
    return known


def _added_before(node: ir.Node, axis: int, rank: int) -> int:
    """How many axes an Unsqueeze of weights added before one of its result."""
    axes = node.attributes.get_ints("axes")
    tensor = node.inputs[1].const_value if axes is None and len(node.inputs) > 1 and node.inputs[1] else None
    added = {int(one) % rank for one in (axes if axes is not None else tensor.numpy() if tensor is not None else ())}
    if not added or axis in added:
        raise CannotSlice("Unsqueeze of weights is not sliced there")
    return sum(one < axis for one in added)


def cut(tensor: ir.TensorProtocol, axis: int, start: int, stop: int) -> ir.TensorProtocol:
    """A slice of a tensor along an axis; a mapped file is read only there."""
    at = (slice(None),) * axis + (slice(start, stop),)
    return ir.Tensor(np.ascontiguousarray(tensor.numpy()[at]), dtype=tensor.dtype)


def put_together(tensor: ir.TensorProtocol, axis: int, each: Sequence[tuple[int, int]]) -> ir.TensorProtocol:
    """Slices of a tensor behind one another along their axis."""
    if len(each) == 1:
        return cut(tensor, axis, *each[0])
    parts = [cut(tensor, axis, start, stop).numpy() for start, stop in each]
    return ir.Tensor(np.concatenate(parts, axis), dtype=tensor.dtype)


def _maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    if node is None or len(node.outputs) != 1:
        raise CannotSlice(f"{value.name} is not a constant with one maker")
    return node
