from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost.estimate import Dims, MachineRate, bind_shapes, estimate_profile, node_flops
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from tests import onnx_models


def loaded(tmp_path: Path, *args, **kwargs):
    return load_graph(ModelFile(onnx_models.save(onnx_models.build(*args, **kwargs), tmp_path / "model.onnx")))


def test_a_large_convolution_costs_more_than_an_addition(tmp_path: Path):
    weights = {"w": np.zeros((64, 32, 3, 3), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "c"], ["y"], name="add"),
    ]
    ends = ([("x", TensorProto.FLOAT, ["n", 32, "h", "w_"])], [("y", TensorProto.FLOAT, ["n", 64, "h", "w_"])])
    model = loaded(tmp_path, nodes, *ends, weights)
    profile = estimate_profile(model, rows=2, input_shapes={"x": (2, 32, 28, 28)})
    assert profile.source == "estimate" and profile.notes
    assert profile.node_seconds["conv"] > 5 * profile.node_seconds["add"]
    assert profile.value_bytes["c"] == 2 * 64 * 28 * 28 * 4
    assert profile.total_seconds == pytest.approx(sum(profile.node_seconds.values()))
    shapes = bind_shapes(model, {"x": (2, 32, 28, 28)}, 2)
    conv, add = model.graph
    assert node_flops(conv, shapes) == 2 * (2 * 64 * 28 * 28) * (32 * 3 * 3)
    assert node_flops(add, shapes) == 2 * 64 * 28 * 28


def test_products_and_recurrences_are_counted_from_their_shapes(tmp_path: Path):
    weights = {
        "w": np.zeros((1, 4 * 6, 5), np.float32),
        "r": np.zeros((1, 4 * 6, 6), np.float32),
        "m": np.zeros((6, 9), np.float32),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["h"], name="lstm", hidden_size=6),
        helper.make_node("Squeeze", ["h", "one"], ["s"], name="squeeze"),
        helper.make_node("MatMul", ["s", "m"], ["y"], name="product"),
    ]
    ends = ([("x", TensorProto.FLOAT, ["time", "rows", 5])], [("y", TensorProto.FLOAT, ["time", "rows", 9])])
    model = loaded(tmp_path, nodes, *ends, weights)
    shapes = bind_shapes(model, {"x": (7, 3, 5)}, 3)
    flops = {node.name: node_flops(node, shapes) for node in model.graph}
    assert flops["lstm"] == 2 * 7 * 3 * (24 * 5 + 24 * 6)
    assert flops["product"] == 2 * 7 * 3 * 9 * 6


FLOPS: dict[str, tuple[str, list[Dims | None], Dims, dict[str, object], float]] = {
    "product": ("MatMul", [(7, 3, 4), (4, 5)], (7, 3, 5), {}, 2 * 7 * 3 * 4 * 5),
    "gemm": ("Gemm", [(3, 4), (4, 5)], (3, 5), {}, 2 * 3 * 4 * 5),
    "gemm, turned": ("Gemm", [(4, 3), (4, 5)], (3, 5), {"transA": 1}, 2 * 3 * 4 * 5),
    "gemm, said not to be turned": ("Gemm", [(3, 4), (4, 5)], (3, 5), {"transA": 0}, 2 * 3 * 4 * 5),
    "quantised product": ("QLinearMatMul", [(3, 4), (), (), (4, 5)], (3, 5), {}, 2 * 3 * 4 * 5),
    "groups of channels": ("Conv", [(2, 4, 8, 8), (6, 2, 3, 3)], (2, 6, 6, 6), {}, 2 * 2 * 6 * 36 * 2 * 9),
    "quantised conv": ("QLinearConv", [(2, 4, 8, 8), (), (), (6, 4, 3, 3)], (2, 6, 6, 6), {}, 2 * 2 * 6 * 36 * 4 * 9),
    "transposed conv": ("ConvTranspose", [(2, 4, 5, 5), (4, 3, 2, 2)], (2, 3, 6, 6), {}, 2 * 2 * 4 * 25 * 3 * 4),
    "recurrence": ("GRU", [(7, 3, 5), (2, 18, 5), (2, 18, 6)], (7, 2, 3, 6), {}, 2 * 7 * 3 * 2 * 18 * (5 + 6)),
    "attention of heads": ("MultiHeadAttention", [(2, 5, 8)] * 3, (2, 5, 8), {}, 4 * 2 * 5 * 5 * 8),
    "windows": ("MaxPool", [(2, 3, 8, 8)], (2, 3, 4, 4), {"kernel_shape": [3, 2]}, 2 * 3 * 16 * 6),
    "letters": ("Einsum", [(7, 3, 4), (4, 5)], (7, 3, 5), {"equation": "b i j, jk -> bik"}, 2 * 7 * 3 * 4 * 5),
    "dots": ("Einsum", [(7, 3, 4), (4, 5)], (7, 3, 5), {"equation": "...ij,jk->...ik"}, 2 * 7 * 3 * 4 * 5),
    "what is added up": ("ReduceSum", [(7, 100)], (7, 1), {}, 700),
    "the largest": ("TopK", [(7, 100), (1,)], (7, 2), {}, 20 * 700),
    "something for each number": ("Exp", [(7, 100)], (7, 100), {}, 8 * 700),
    "an operator that nobody counts": ("Add", [(7, 100), (1,)], (7, 100), {}, 700),
    "a shape that is not known": ("MatMul", [None, (4, 5)], (3, 5), {}, 15),
    "trees": ("TreeEnsembleRegressor", [(7, 3)], (7, 1), {"nodes_treeids": [0] * 8 + [1] * 8}, 10 * 7 * 2 * 3),
    "trees of opset 5": (
        "TreeEnsemble", [(7, 3)], (7, 1), {"tree_roots": [0, 3], "nodes_featureids": [0] * 7}, 10 * 7 * 2 * 3
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOPS)
def test_operations_are_counted(name: str):
    op, ins, out, attributes, expected = FLOPS[name]
    values = [ir.Value(name=f"in{at}") for at in range(len(ins))]
    node = ir.node(op, values, attributes)
    node.outputs[0].name = "out"
    shapes = {f"in{at}": shape for at, shape in enumerate(ins) if shape is not None}
    assert node_flops(node, {**shapes, "out": out}) == expected


@pytest.mark.parametrize(("op", "fused"), [("Attention", True), ("MultiHeadAttention", False)])
def test_attention_is_counted_and_moves_its_bytes(tmp_path: Path, op: str, fused: bool):
    weights = {"w": np.zeros((8, 24), np.float32), "b": np.zeros(24, np.float32)}
    inputs = ["x", "w", "b"] if fused else ["x", "x", "x"]
    nodes = [helper.make_node(op, inputs, ["y"], name="attend", domain="com.microsoft", num_heads=2)]
    ends = ([("x", TensorProto.FLOAT, ["rows", 5, 8])], [("y", TensorProto.FLOAT, ["rows", 5, 8])])
    model = loaded(tmp_path, nodes, *ends, weights if fused else {})
    (node,) = model.graph
    products, projections = 4 * 3 * 5 * 5 * 8, 2 * 3 * 5 * 8 * 24
    assert node_flops(node, bind_shapes(model, {"x": (3, 5, 8)}, 3)) == products + (projections if fused else 0)
    # Nothing but bytes takes time: each tensor once, weights too.
    rate = MachineRate(flops=1e30, bandwidth=1.0, call_seconds=0.0)
    profile = estimate_profile(model, rows=3, input_shapes={"x": (3, 5, 8)}, rate=rate)
    moved = 2 * 3 * 5 * 8 * 4 + (24 * 9 * 4 if fused else 0)
    assert profile.node_seconds == {"attend": moved}


def test_a_faster_machine_takes_less(tmp_path: Path):
    path = onnx_models.save(onnx_models.mlp(hidden=512), tmp_path / "mlp.onnx")
    model = load_graph(ModelFile(path))
    slow = estimate_profile(model, rows=64, rate=MachineRate(flops=1e9, bandwidth=1e9, call_seconds=0))
    fast = estimate_profile(model, rows=64, rate=MachineRate(flops=2e9, bandwidth=2e9, call_seconds=0))
    assert slow.total_seconds == pytest.approx(2 * fast.total_seconds)
