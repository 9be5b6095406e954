"""What a model costs by counting: floating-point operations and bytes a node, over what a machine does a second."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from beamsplit.models.cost.profile import Profile
from beamsplit.models.graph.parts import NodeView, parts_of
from beamsplit.models.running.providers import CPU

_STRING_BYTES = 16.0
"""Taken for a string of unknown length."""

_OPEN = 16
"""Size taken for a dimension that nothing tells."""

Dims = Sequence[int]


@dataclass(frozen=True)
class MachineRate:
    """What one thread does in a second."""

    flops: float = 6e10
    """Floating-point operations: a core with two units of 8 float32 lanes, well used."""

    bandwidth: float = 8e9
    """Bytes read and written."""

    call_seconds: float = 2e-6
    """What surrounds one node."""

    threads: int = 1
    """That share the work of a node perfectly."""


ASSUMED_RATE = MachineRate()


def estimate_profile(
    model: ir.Model,
    *,
    rows: int,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, float] | None = None,
    rate: MachineRate = ASSUMED_RATE,
    provider: str = CPU,
) -> Profile:
    """Seconds and bytes of a model that cannot be run here: a node takes as long as its slower need, plus its call.

    Args:
        model: of `load_graph`.
        rows: in the micro-batch.
        input_shapes: of the micro-batch's inputs; open dimensions follow from them where inference can tell.
        sizes: bytes of tensors where they are known.
        rate: of one thread, and how many there are.
        provider: that the seconds are meant for.
    """
    shapes = bind_shapes(model, input_shapes or {}, rows)
    parts = parts_of(model)
    values = {
        str(v.name): v for v in [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)] if v.name
    }
    nbytes = {name: tensor_bytes(value, shapes.get(name)) for name, value in values.items()} | dict(sizes or {})
    seconds = {name: _seconds(part, shapes, nbytes, rate) for name, part in parts.items()}
    notes = ("seconds are estimated from operations and bytes, not measured",)
    return Profile(rows, seconds, nbytes, sum(seconds.values()), "estimate", provider, rate.threads, notes)


def tensor_bytes(value: ir.Value, shape: Sequence[int] | None) -> float:
    """Bytes of a tensor of the type that the graph gives it; of an unknown shape, what the graph knows of it."""
    if shape is None:
        known = [] if value.shape is None else list(value.shape)
        shape = [dim if isinstance(dim, int) else _OPEN for dim in known]
    dtype = value.dtype
    width = 4.0 if dtype is None else _STRING_BYTES if dtype == ir.DataType.STRING else float(dtype.itemsize)
    return float(math.prod(shape) * width)


def bind_shapes(model: ir.Model, input_shapes: Mapping[str, Sequence[int]], rows: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, weights too, when the inputs have these shapes.

    Symbols of the inputs get the sizes that they have there, and what follows is inferred; what stays open is taken
    as `rows` on the first axis and 16 elsewhere.
    """
    from beamsplit.models.graph.types import skeleton

    copy = model.clone()
    for value in [v for node in copy.graph for v in node.outputs]:
        # Recorded with symbols; inferred again with numbers.
        value.shape = None
    for value in copy.graph.inputs:
        given = input_shapes.get(str(value.name))
        if given is None and value.shape is not None:
            given = [d if isinstance(d, int) else (rows if i == 0 else _OPEN) for i, d in enumerate(value.shape)]
        value.shape = None if given is None else ir.Shape(given)
    for value in copy.graph.outputs:
        value.shape = None
    proto = skeleton(copy)
    # Where inference fails, what the graph recorded is all there is.
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError):
        proto = onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    found: dict[str, list[int | None]] = {}
    for info in [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]:
        if info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            found[info.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    shapes = {}
    every = [
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for node in model.graph for v in node.outputs),
    ]
    for value in every:
        name = str(value.name)
        dims_found = found.get(name)
        if dims_found is None and value.shape is not None:
            dims_found = [dim if isinstance(dim, int) else None for dim in value.shape]
        if dims_found is not None:
            shapes[name] = tuple(d if d is not None else (rows if i == 0 else _OPEN) for i, d in enumerate(dims_found))
    return shapes


def _seconds(
    part: NodeView,
    shapes: Mapping[str, Dims],
    nbytes: Mapping[str, float],
    rate: MachineRate,
) -> float:
    node = part.node
    moved = sum(nbytes.get(name, 0.0) for name in (*part.reads, *part.makes))
    moved += sum(_weight_bytes(value) for value in node.inputs if value is not None and value.is_initializer())
    if node.op_type in _VIEWS:
        return rate.call_seconds
    flops = node_flops(node, shapes)
    return rate.call_seconds + max(flops / rate.flops, moved / rate.bandwidth) / max(rate.threads, 1)


_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size", "Constant", "Dropout"})
"""Operators that move no bytes."""


def _weight_bytes(value: ir.Value) -> float:
    return 0.0 if value.const_value is None else float(value.const_value.nbytes)


def node_flops(node: ir.Node, shapes: Mapping[str, Dims]) -> float:
    """Floating-point operations of a node; a multiplication with its addition counts two.

    Products of matrices, convolutions, recurrences and attention are counted exactly from their shapes, tree
    ensembles by their depth; any other operator takes some operations for each number that it makes.
    """
    ins = [None if value is None else shapes.get(str(value.name)) for value in node.inputs]
    outs = [shapes.get(str(value.name)) for value in node.outputs if value.name]
    count = _COUNTED.get(node.op_type)
    made = sum(float(math.prod(out)) for out in outs if out is not None)
    if count is not None:
        try:
            return max(count(node, ins, outs), made)
        except (IndexError, TypeError, KeyError, ValueError):
            return made  # A shape that it needs is not known.
    if node.op_type in _OVER_INPUT:
        made = max(made, *(float(math.prod(one)) for one in ins[:1] if one is not None), 0.0)
    return _PER_NUMBER.get(node.op_type, 1.0) * made


_Shapes = Sequence["Dims | None"]


def _some(shape: Dims | None) -> Dims:
    if shape is None:
        raise TypeError("unknown shape")
    return shape


def _matmul(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    return 2.0 * math.prod(_some(outs[0])) * _some(ins[0])[-1]


def _gemm(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    turned = "transA" in node.attributes and node.attributes["transA"].as_int()
    return 2.0 * math.prod(_some(outs[0])) * _some(ins[0])[0 if turned else -1]


def _conv(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    at = 3 if node.op_type == "QLinearConv" else 1
    return 2.0 * math.prod(_some(outs[0])) * math.prod(_some(ins[at])[1:])


def _conv_transpose(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    return 2.0 * math.prod(_some(ins[0])) * math.prod(_some(ins[1])[1:])


def _recurrent(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    steps, rows = _some(ins[0])[:2]
    # W [directions, gates * hidden, input] and R [directions, gates * hidden, hidden] for each step and row.
    return 2.0 * steps * rows * (math.prod(_some(ins[1])) + math.prod(_some(ins[2])))


def _attention(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    shape = _some(ins[0])
    sequence, hidden = shape[-2], shape[-1]
    rows = math.prod(shape[:-2])
    fused = node.op_type in ("Attention", "QAttention") and len(ins) > 1 and len(_some(ins[1])) == 2
    projections = 2.0 * rows * sequence * math.prod(_some(ins[1])) if fused else 0.0
    return projections + 4.0 * rows * sequence * sequence * hidden


def _qlinear_matmul(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    return _matmul(node, ins, outs)


def _pool(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    window = node.attributes["kernel_shape"].as_ints()
    return float(math.prod(_some(outs[0])) * math.prod(window))


def _einsum(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    equation = node.attributes["equation"].as_string().replace(" ", "").split("->")[0]
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.split(","), ins, strict=True):
        before, dots, behind = term.partition("...")
        dims = _some(shape)
        # Axes that dots stand for meet from behind, as in broadcasting.
        axes = [f"...{at}" for at in range(len(dims) - len(before) - len(behind), 0, -1)] if dots else []
        for axis, size in zip([*before, *axes, *behind], dims, strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
    return 2.0 * math.prod(sizes.values())


def _trees(node: ir.Node, ins: _Shapes, outs: _Shapes) -> float:
    if "nodes_treeids" in node.attributes:
        trees = node.attributes["nodes_treeids"].as_ints()
        number, nodes = len(set(trees)), len(trees)
    else:
        number = len(node.attributes["tree_roots"].as_ints())
        # Leaves are listed apart: each tree has one more than it has nodes that decide.
        nodes = 2 * len(node.attributes["nodes_featureids"].as_ints()) + number
    depth = math.log2(max(nodes / max(number, 1), 2.0))
    # A step down a tree waits for memory: as long as some ten operations.
    return 10.0 * _some(ins[0])[0] * number * depth


_COUNTED: Mapping[str, Callable[[ir.Node, _Shapes, _Shapes], float]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "DynamicQuantizeMatMul": _matmul,
    "MatMulNBits": _matmul,
    "FusedMatMul": _matmul,
    "QLinearMatMul": _qlinear_matmul,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _conv,
    "FusedConv": _conv,
    "QLinearConv": _conv,
    "ConvTranspose": _conv_transpose,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _attention,
    "GroupQueryAttention": _attention,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    "Einsum": _einsum,
    "TreeEnsemble": _trees,
    "TreeEnsembleClassifier": _trees,
    "TreeEnsembleRegressor": _trees,
}

_PER_NUMBER: Mapping[str, float] = {
    "Exp": 8.0, "Log": 8.0, "Sigmoid": 10.0, "Tanh": 10.0, "Erf": 10.0, "Gelu": 15.0, "Softmax": 12.0,
    "LogSoftmax": 12.0, "Sqrt": 4.0, "Pow": 15.0, "Div": 4.0, "LayerNormalization": 8.0, "BatchNormalization": 2.0,
    "InstanceNormalization": 8.0, "GroupNormalization": 8.0, "LRN": 15.0, "Resize": 8.0, "TopK": 20.0, "Sin": 10.0,
    "Cos": 10.0, "Swish": 12.0, "Mish": 20.0, "Elu": 8.0, "Selu": 8.0, "Softplus": 15.0,
}  # fmt: skip
"""Operations for each number made, where it is not about one."""

_OVER_INPUT = frozenset({"GlobalAveragePool", "GlobalMaxPool", "TopK", "ArgMax", "ArgMin", "CumSum"}) | frozenset(
    f"Reduce{name}" for name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
)
"""Operators whose work follows their input, not what they make of it."""
