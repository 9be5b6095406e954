"""Models that are hard to cut, each with feeds for a few rows; weights are seeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import onnx_models
from tests.onnx_models import build

Case = tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
info = helper.make_tensor_value_info


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def lstm() -> Case:
    """Embedded steps through an LSTM; its last state through two layers. Rows are on axis 1 inside."""
    weights = {"w": normal(1, 20, 4) * 0.5, "r": normal(1, 20, 5) * 0.5, "a": normal(5, 5), "b": normal(5, 2)}
    nodes = [
        node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        node("LSTM", ["steps", "w", "r"], ["all", "state", "cell"], hidden_size=5),
        node("Squeeze", ["state", "zero"], ["last"]),
        node("MatMul", ["last", "a"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "b"], ["y"]),
    ]
    weights["zero"] = np.array([0], np.int64)
    outputs = [("y", FLOAT, ["batch", 2]), ("all", FLOAT, [None, 1, "batch", 5])]
    model = build(nodes, [("x", FLOAT, ["batch", "time", 4])], outputs, weights)
    return model, {"x": normal(3, 7, 4)}


def branches() -> Case:
    """An If whose branches capture a tensor made long before it, and a weight that another node reads too."""
    body = [("captured", "then"), ("other", "else")]
    graphs = {}
    for value, name in body:
        layer = [node("MatMul", [value, "w"], [f"{name}_m"]), node("Sin", [f"{name}_m"], [f"{name}_out"])]
        graphs[name] = helper.make_graph(layer, name, [], [info(f"{name}_out", FLOAT, None)])
    nodes = [
        node("MatMul", ["x", "w"], ["captured"]),
        node("Cos", ["captured"], ["c"]),
        node("Exp", ["c"], ["other"]),
        node("ReduceSum", ["flag"], ["total"], keepdims=0),
        node("Greater", ["total", "zero"], ["positive"]),
        node("If", ["positive"], ["chosen"], then_branch=graphs["then"], else_branch=graphs["else"]),
        node("Tanh", ["chosen"], ["y"]),
    ]
    inputs = [("x", FLOAT, ["batch", 4]), ("flag", FLOAT, [])]
    weights = {"w": normal(4, 4), "zero": np.array(0, np.float32)}
    model = build(nodes, inputs, [("y", FLOAT, ["batch", 4])], weights)
    return model, {"x": normal(3, 4), "flag": np.array(1, np.float32)}


def loop() -> Case:
    """A Loop of three turns whose body captures a weight and a tensor, with a tensor of each turn stacked."""
    body = helper.make_graph(
        [
            node("Mul", ["carried", "w"], ["scaled"]),
            node("Add", ["scaled", "skip"], ["next"]),
            node("Sin", ["next"], ["step"]),
            node("Identity", ["go"], ["again"]),
        ],
        "body",
        [info("turn", INT64, []), info("go", TensorProto.BOOL, []), info("carried", FLOAT, None)],
        [info("again", TensorProto.BOOL, []), info("next", FLOAT, None), info("step", FLOAT, None)],
    )
    nodes = [
        node("Cos", ["x"], ["skip"]),
        node("Exp", ["skip"], ["e"]),
        node("Tanh", ["e"], ["first"]),
        node("Loop", ["turns", "", "first"], ["final", "steps"], body=body),
        node("ReduceMax", ["steps"], ["most"], axes=[0], keepdims=0),
        node("Sub", ["final", "most"], ["y"]),
    ]
    weights = {"w": normal(4), "turns": np.array(3, np.int64)}
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], weights)
    return model, {"x": normal(3, 4)}


def scan() -> Case:
    """A Scan over the steps of a sequence, between a layer before and one after."""
    body = helper.make_graph(
        [node("Add", ["sum_in", "step"], ["sum_out"]), node("Mul", ["sum_out", "w"], ["out"])],
        "body",
        [info("sum_in", FLOAT, ["b", 4]), info("step", FLOAT, ["b", 4])],
        [info("sum_out", FLOAT, ["b", 4]), info("out", FLOAT, ["b", 4])],
    )
    nodes = [
        node("Sin", ["x"], ["s"]),
        node("Transpose", ["s"], ["steps"], perm=[1, 0, 2]),
        node("ReduceSum", ["s", "one"], ["start"], keepdims=0),
        node("Scan", ["start", "steps"], ["sum", "outs"], body=body, num_scan_inputs=1),
        node("ReduceMean", ["outs"], ["mean"], axes=[0], keepdims=0),
        node("Mul", ["sum", "mean"], ["y"]),
    ]
    weights = {"w": normal(4), "one": np.array([1], np.int64)}
    model = build(nodes, [("x", FLOAT, ["batch", 3, 4])], [("y", FLOAT, ["batch", 4])], weights)
    return model, {"x": normal(2, 3, 4)}


def constants() -> Case:
    """Weights kept as Constant nodes of every kind, nodes without names, one in the branch of an If."""
    inner = helper.make_graph(
        [node("Constant", [], ["k"], value_float=2.0), node("Mul", ["h", "k"], ["doubled"])],
        "then",
        [],
        [info("doubled", FLOAT, None)],
    )
    other = helper.make_graph([node("Identity", ["h"], ["same"])], "else", [], [info("same", FLOAT, None)])
    nodes = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(normal(4, 4), "w")),
        node("Constant", [], ["axes"], value_ints=[1]),
        node("Constant", [], ["half"], value_float=0.5),
        node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True), "yes")),
        node("MatMul", ["x", "w"], ["h"]),
        node("If", ["yes"], ["i"], then_branch=inner, else_branch=other),
        node("Mul", ["i", "half"], ["m"]),
        node("Sin", ["m"], ["s"]),
        node("MatMul", ["s", "w"], ["t"]),
        node("ReduceSum", ["t", "axes"], ["y"], keepdims=0),
    ]
    return build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch"])]), {"x": normal(3, 4)}


def fixed_batch() -> Case:
    """A batch fixed at 1, with a constant target of a Reshape."""
    return onnx_models.fixed_batch(), {"image": normal(1, 3, 4, 4)}


def rows_on_axis_1() -> Case:
    """A GRU with the rows on axis 1 of everything."""
    return onnx_models.rnn(), {"x": normal(6, 3, 3), "state": normal(2, 3, 5)}


def microsoft() -> Case:
    """Operators of com.microsoft, whose types only ONNX Runtime knows."""
    weights = {"w": normal(4, 4), "b": normal(4), "gamma": normal(4), "beta": normal(4)}
    nodes = [
        node("FusedMatMul", ["x", "w"], ["f"], domain="com.microsoft", alpha=0.5),
        node("BiasGelu", ["f", "b"], ["g"], domain="com.microsoft"),
        node("SkipLayerNormalization", ["g", "x", "gamma", "beta"], ["n"], domain="com.microsoft"),
        node("QuickGelu", ["n"], ["q"], domain="com.microsoft"),
        node("MatMul", ["q", "w"], ["m"]),
        node("Gelu", ["m"], ["y"], domain="com.microsoft"),
    ]
    inputs, outputs = [("x", FLOAT, ["batch", 3, 4])], [("y", FLOAT, ["batch", 3, 4])]
    return build(nodes, inputs, outputs, weights, extra_opsets={"com.microsoft": 1}), {"x": normal(2, 3, 4)}


def machine_learning() -> Case:
    """Operators of ai.onnx.ml: a scaler, a normaliser, a linear classifier with labels that are strings."""
    nodes = [
        node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.5] * 4, scale=[2.0] * 4),
        node("Normalizer", ["s"], ["n"], domain="ai.onnx.ml", norm="L2"),
        node(
            "LinearClassifier",
            ["n"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            classlabels_strings=["low", "mid", "high"],
            coefficients=normal(12).tolist(),
            intercepts=[0.1, 0.2, 0.3],
        ),
        node("LabelEncoder", ["label"], ["code"], domain="ai.onnx.ml", keys_strings=["low"], values_int64s=[1]),
        node("Softmax", ["scores"], ["p"]),
    ]
    outputs = [("label", TensorProto.STRING, None), ("code", INT64, None), ("p", FLOAT, None)]
    model = build(nodes, [("x", FLOAT, ["batch", 4])], outputs, extra_opsets={"ai.onnx.ml": 2})
    return model, {"x": normal(5, 4)}


def quantised() -> Case:
    """QuantizeLinear and DequantizeLinear round every layer, with a skip connection and weights in int8."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray[Any, Any]] = {"s": np.array(0.05, np.float32), "z": np.array(3, np.uint8)}
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q0"])]
    for i in range(3):
        weights[f"w{i}"] = rng.integers(-100, 100, (4, 4)).astype(np.int8)
        nodes += [
            node("DequantizeLinear", [f"q{i}", "s", "z"], [f"d{i}"]),
            node("DequantizeLinear", [f"w{i}", "s"], [f"dw{i}"]),
            node("MatMul", [f"d{i}", f"dw{i}"], [f"m{i}"]),
            node("Add", [f"m{i}", "d0"], [f"a{i}"]),
            node("QuantizeLinear", [f"a{i}", "s", "z"], [f"q{i + 1}"]),
        ]
    nodes.append(node("DequantizeLinear", ["q3", "s", "z"], ["y"]))
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], weights)
    return model, {"x": normal(3, 4)}


def quantised_at_run() -> Case:
    """Layers that DynamicQuantizeLinear quantises by the values of the run: its scale is a tensor without rows."""
    weights: dict[str, np.ndarray[Any, Any]] = {"scale": np.array(0.01, np.float32)}
    nodes = []
    for i in range(3):
        weights[f"w{i}"] = np.random.default_rng(i).integers(-100, 100, (4, 4)).astype(np.int8)
        nodes += [
            node("DynamicQuantizeLinear", [f"x{i}"], [f"q{i}", f"s{i}", f"z{i}"]),
            node("MatMulInteger", [f"q{i}", f"w{i}", f"z{i}"], [f"i{i}"]),
            node("Cast", [f"i{i}"], [f"f{i}"], to=FLOAT),
            node("Mul", [f"f{i}", f"s{i}"], [f"m{i}"]),
            node("Mul", [f"m{i}", "scale"], [f"x{i + 1}"]),
        ]
    return build(nodes, [("x0", FLOAT, ["batch", 4])], [("x3", FLOAT, ["batch", 4])], weights), {"x0": normal(3, 4)}


def shared_weights() -> Case:
    """One weight in every layer, and a transposed copy of it made from it as the model runs."""
    nodes = [
        node("Transpose", ["w"], ["wt"]),
        node("MatMul", ["x", "w"], ["a"]),
        node("Tanh", ["a"], ["b"]),
        node("MatMul", ["b", "wt"], ["c"]),
        node("Tanh", ["c"], ["d"]),
        node("MatMul", ["d", "w"], ["e"]),
        node("MatMul", ["e", "wt"], ["y"]),
    ]
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], {"w": normal(4, 4) * 0.3})
    return model, {"x": normal(3, 4)}


def sequences() -> Case:
    """A sequence that lives across other nodes: what splits and what joins it stay together."""
    nodes = [
        node("Sin", ["x"], ["s"]),
        node("SplitToSequence", ["s"], ["parts"], axis=1),
        node("Cos", ["s"], ["c"]),
        node("Exp", ["c"], ["e"]),
        node("SequenceAt", ["parts", "one"], ["part"]),
        node("Mul", ["part", "e"], ["m"]),
        node("ConcatFromSequence", ["parts"], ["joined"], axis=1),
        node("Add", ["m", "joined"], ["sum"]),
        node("Tanh", ["sum"], ["t"]),
        node("Abs", ["t"], ["y"]),
    ]
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], {"one": np.array(1, np.int64)})
    return model, {"x": normal(3, 4)}


def optionals() -> Case:
    """An optional value, which stays inside one stage."""
    nodes = [
        node("Sin", ["x"], ["s"]),
        node("Optional", ["s"], ["maybe"]),
        node("OptionalGetElement", ["maybe"], ["got"]),
        node("Tanh", ["got"], ["t"]),
        node("Cos", ["t"], ["y"]),
    ]
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], opset=18)
    return model, {"x": normal(3, 4)}


def strings() -> Case:
    """Strings in, between and out."""
    encode: dict[str, Any] = {"domain": "ai.onnx.ml", "keys_strings": ["röt", "blau", ""]}
    nodes = [
        node("Identity", ["word"], ["w1"]),
        node("LabelEncoder", ["w1"], ["other"], values_strings=["red", "blue", "none"], default_string="?", **encode),
        node("Identity", ["other"], ["translated"]),
        node("LabelEncoder", ["w1"], ["code"], values_int64s=[1, 2, 3], default_int64=-1, **encode),
    ]
    outputs = [("translated", TensorProto.STRING, ["batch"]), ("code", INT64, ["batch"])]
    inputs = [("word", TensorProto.STRING, ["batch"])]
    model = build(nodes, inputs, outputs, extra_opsets={"ai.onnx.ml": 2})
    return model, {"word": np.array(["röt", "", "Grün", "blau"], object)}


def typed(onnx_type: int) -> Case:
    """Layers computed in float32, with tensors of the type between them."""
    nodes = []
    for i in range(4):
        nodes += [
            node("Sin", [f"x{i}"], [f"s{i}"]),
            node("Cast", [f"s{i}"], [f"n{i}"], to=onnx_type),
            node("Cast", [f"n{i}"], [f"x{i + 1}"], to=FLOAT),
        ]
    model = build(nodes, [("x0", FLOAT, ["batch", 3])], [("x4", FLOAT, ["batch", 3])], opset=21)
    return model, {"x0": normal(5, 3) * 3}


def float16() -> Case:
    """float16 throughout."""
    model = onnx_models.mlp(4, 8, 2, layers=4, dtype="float16")
    return model, {"x": normal(3, 4).astype(np.float16)}


def quantised_to_int4() -> Case:
    """int4 weights in blocks, and activations that are quantised to int4 between layers."""
    packed = np.random.default_rng(0).integers(-8, 8, (4, 4)).astype(np.int8)
    weight = helper.make_tensor("w", TensorProto.INT4, [4, 4], packed.reshape(-1).tolist())
    nodes = [
        node("DequantizeLinear", ["w", "scales"], ["dw"], axis=0, block_size=2),
        node("MatMul", ["x", "dw"], ["m"]),
        node("QuantizeLinear", ["m", "s"], ["q"], output_dtype=TensorProto.INT4),
        node("DequantizeLinear", ["q", "s"], ["d"]),
        node("MatMul", ["d", "dw"], ["n"]),
        node("Tanh", ["n"], ["y"]),
    ]
    weights = {"scales": np.full((2, 4), 0.1, np.float32), "s": np.array(0.2, np.float32)}
    model = build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], weights, opset=21)
    model.graph.initializer.append(weight)
    return model, {"x": normal(3, 4)}


def zero_size() -> Case:
    """A tensor without elements goes through every stage and is joined at the end."""
    nodes = [
        node("Slice", ["x", "zero", "zero", "one"], ["none"]),
        node("Sin", ["none"], ["n1"]),
        node("Sin", ["x"], ["x1"]),
        node("Exp", ["n1"], ["n2"]),
        node("Exp", ["x1"], ["x2"]),
        node("Concat", ["x2", "n2"], ["y"], axis=1),
        node("Cos", ["n2"], ["empty"]),
    ]
    weights = {"zero": np.array([0], np.int64), "one": np.array([1], np.int64)}
    outputs = [("y", FLOAT, ["batch", 3]), ("empty", FLOAT, ["batch", 0])]
    return build(nodes, [("x", FLOAT, ["batch", 3])], outputs, weights), {"x": normal(2, 3)}


def functions() -> Case:
    """Local functions that call one another, called twice."""
    model, feeds = shared_weights()
    opset = [helper.make_opsetid("", onnx_models.OPSET), helper.make_opsetid("local", 1)]
    inner = helper.make_function("local", "Inner", ["a"], ["b"], [node("Sin", ["a"], ["b"])], opset)
    layers = [node("Inner", ["a"], ["i"], domain="local"), node("Exp", ["i"], ["b"])]
    outer = helper.make_function("local", "Outer", ["a"], ["b"], layers, opset)
    model.functions.extend([inner, outer])
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node.append(node("Outer", ["y"], ["y2"], domain="local"))
    model.graph.node.append(node("Outer", ["y2"], ["y3"], domain="local"))
    model.graph.output.append(info("y3", FLOAT, ["batch", 4]))
    return model, feeds


def reshapes() -> Case:
    """An encoder's habits: targets of Reshape computed from sizes, masks for every layer, positions from a Range."""
    weights: dict[str, np.ndarray[Any, Any]] = {
        "table": normal(50, 8),
        "positions": normal(64, 8),
        "i0": np.array(0, np.int64),
        "i1": np.array(1, np.int64),
        "v0": np.array([0], np.int64),
        "heads": np.array([2, 4], np.int64),
        "all": np.array([-1, 8], np.int64),
        "flat": np.array([-1], np.int64),
        "axes": np.array([1], np.int64),
        "one": np.array(1, np.float32),
        "low": np.array(-1e4, np.float32),
    }
    nodes = [
        node("Shape", ["ids"], ["size"]),
        node("Gather", ["size", "i1"], ["length"]),
        node("Range", ["i0", "length", "i1"], ["range"]),
        node("Gather", ["positions", "range"], ["p"]),
        node("Gather", ["table", "ids"], ["t"]),
        node("Add", ["t", "p"], ["h0"]),
        node("Cast", ["mask"], ["mf"], to=FLOAT),
        node("Sub", ["one", "mf"], ["inverse"]),
        node("Mul", ["inverse", "low"], ["m2"]),
        node("Unsqueeze", ["m2", "axes"], ["m3"]),
    ]
    for i in range(3):
        weights[f"w{i}"] = normal(8, 8, seed=i) * 0.3
        nodes += [
            node("Shape", [f"h{i}"], [f"size{i}"]),
            node("Slice", [f"size{i}", "v0", "v2"], [f"lead{i}"]),
            node("Concat", [f"lead{i}", "heads"], [f"to4_{i}"], axis=0),
            node("MatMul", [f"h{i}", f"w{i}"], [f"k{i}"]),
            node("Reshape", [f"k{i}", f"to4_{i}"], [f"four{i}"]),
            node("Reshape", [f"four{i}", "flat"], [f"flat{i}"]),
            node("Tanh", [f"flat{i}"], [f"tanh{i}"]),
            node("Reshape", [f"tanh{i}", f"size{i}"], [f"back{i}"]),
            node("Transpose", [f"back{i}"], [f"turned{i}"], perm=[0, 2, 1]),
            node("MatMul", [f"h{i}", f"turned{i}"], [f"scores{i}"]),
            node("Add", [f"scores{i}", "m3"], [f"masked{i}"]),
            node("Softmax", [f"masked{i}"], [f"soft{i}"]),
            node("MatMul", [f"soft{i}", f"back{i}"], [f"mixed{i}"]),
            node("Add", [f"mixed{i}", f"h{i}"], [f"h{i + 1}"]),
        ]
    weights["v2"] = np.array([2], np.int64)
    nodes.append(node("Reshape", ["h3", "all"], ["y"]))
    inputs = [("ids", INT64, ["batch", "sequence"]), ("mask", INT64, ["batch", "sequence"])]
    model = build(nodes, inputs, [("y", FLOAT, [None, 8])], weights)
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int64)
    return model, {"ids": np.random.default_rng(0).integers(0, 50, (2, 5)), "mask": mask}


CASES: dict[str, Callable[[], Case]] = {
    case.__name__: case
    for case in [
        *(lstm, branches, loop, scan, constants, fixed_batch, rows_on_axis_1, microsoft, machine_learning),
        *(quantised, quantised_at_run, shared_weights, sequences, optionals, strings, float16, quantised_to_int4),
        *(zero_size, functions, reshapes),
    ]
}
