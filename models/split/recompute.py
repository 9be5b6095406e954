"""Nodes that each stage computes for itself: cheaper, or cleaner, to do twice than to ship what they make.

weights only       a weight unpacked, cast or transposed as the model loads
sizes              Shape -> Gather -> Concat ...: vectors without rows, which would have to travel whole
masks              what light operators make of the model's integer and boolean inputs, where several parts read it
DequantizeLinear   stays with each of its consumers: what crosses is the quantised tensor
"""

from __future__ import annotations

import onnx_ir as ir

from beamsplit.models.graph.parts import NodeView, bodies, value_bytes

_LIGHT_NAMES = """
    Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat
    ConstantOfShape CumSum Div Equal Expand EyeLike Flatten Floor Gather GatherElements GatherND
    Greater GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Max Min Mod Mul Neg NonZero Not OneHot Or
    Pad Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Shape Sign Size Slice Split Squeeze Sub Tile
    Transpose Trilu Unsqueeze Where Xor
"""
LIGHT = frozenset(_LIGHT_NAMES.split())
"""Operators whose compute is below the transfer of what they make."""

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
)
"""Operators that make something else each time."""

_SMALL = 1 << 16
"""Bytes up to which a weight may be put into every stage."""

_STANDARD = ("", "ai.onnx")


def is_op(node: ir.Node, *names: str) -> bool:
    """Whether it is one of the standard operators of those names."""
    return node.domain in _STANDARD and node.op_type in names


def dequantizes(node: ir.Node) -> bool:
    """Whether it is a DequantizeLinear, of any domain."""
    return node.op_type == "DequantizeLinear"


def recomputed_nodes(model: ir.Model, parts: dict[str, NodeView], weight_sizes: dict[str, int]) -> set[str]:
    """Names of the nodes that are put into each stage that needs them; none makes an output of the model."""
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    outputs = {str(value.name) for value in model.graph.outputs}
    inputs = {str(value.name): value for value in model.graph.inputs}
    small = {name for name, value in inputs.items() if _counts(value)}
    fixed: set[str] = set()
    """Values that follow from weights alone."""
    light: set[str] = set(small)
    """Values that light operators make of sizes, integer inputs and weights; with the small inputs themselves."""
    chosen: set[str] = set()
    masks: set[str] = set()
    masked = set(small)
    """Values that follow from the values of the small inputs, not from their sizes alone."""
    for name, part in parts.items():
        node = part.node
        if any(True for _ in bodies(node)) or node.op_type in RANDOM:
            continue
        if fixed.issuperset(part.reads):
            fixed.update(part.makes)
        elif is_op(node, "Shape", "Size") and not light.issuperset(part.reads):
            # Of something large: made where that is, and shipped; what follows from it is made anew.
            light.update(part.makes)
            continue
        elif not dequantizes(node):
            heavy = any(weight_sizes[weight] > _SMALL for weight in part.weights) or any(
                value_bytes(values[read]) > _SMALL for read in part.reads if read in fixed
            )
            if heavy or not is_op(node, *LIGHT) or not (light | fixed).issuperset(part.reads):
                continue
            if not masked.isdisjoint(part.reads) and not is_op(node, "Shape", "Size"):
                masks.add(name)
                masked.update(part.makes)
            light.update(part.makes)
        if outputs.isdisjoint(part.makes):
            chosen.add(name)
    return chosen - _read_once(parts, chosen, masks)


def _counts(value: ir.Value) -> bool:
    """Whether it is a tensor of integers or booleans."""
    dtype = value.dtype
    if not isinstance(value.type, ir.TensorType) or dtype is None:
        return False
    return dtype.is_integer() or dtype == ir.DataType.BOOL


def _read_once(parts: dict[str, NodeView], chosen: set[str], masks: set[str]) -> set[str]:
    """Those masks that only one other node needs: nothing is saved by making them twice."""
    readers: dict[str, set[str]] = {}
    for name, part in parts.items():
        for read in part.reads:
            readers.setdefault(read, set()).add(name)
    dropped: set[str] = set()
    reached: dict[str, set[str]] = {}
    for name in reversed(parts):
        if name not in chosen:
            continue
        found: set[str] = set()
        for made in parts[name].makes:
            for reader in readers.get(made, ()):
                found |= reached[reader] if reader in chosen and reader not in dropped else {reader}
        if name in masks and len(found) <= 1:
            dropped.add(name)
        reached[name] = found
    return dropped
