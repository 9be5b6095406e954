"""What an arena comes to hold, worked out by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from beamsplit.models.cost.estimate import bind_shapes
from beamsplit.models.shard.memory import ARENA_TIMES, arena_bytes, live_bytes
from tests.onnx_models import build

FLOAT = TensorProto.FLOAT


def graph_of(nodes: list, outputs: list[str], weights: dict[str, np.ndarray]) -> tuple[ir.Graph, dict]:
    proto = build(nodes, [("x", FLOAT, ["n", 4])], [(name, FLOAT, ["n", None]) for name in outputs], weights)
    model = ir.from_proto(proto)
    return model.graph, bind_shapes(model, {"x": (10, 4)}, 10)


def test_a_chain_holds_two_neighbours_at_once():
    # x (the caller's) -> a 10 x 8 -> b 10 x 3 -> y 10 x 5; at once: a and b, then b and y
    weights = {"v": np.ones((4, 8), np.float32), "w": np.ones((8, 3), np.float32), "u": np.ones((3, 5), np.float32)}
    nodes = [helper.make_node("MatMul", pair, [made]) for *pair, made in ("xva", "awb", "buy")]
    graph, shapes = graph_of(nodes, ["y"], weights)
    assert live_bytes(graph, shapes) == 4 * 10 * (8 + 3)
    assert arena_bytes(graph, shapes) == ARENA_TIMES * 4 * 10 * (8 + 3)


def test_what_nobody_reads_any_more_is_written_over():
    weights = {"w": np.ones((4, 8), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    graph, shapes = graph_of(nodes, ["y"], weights)
    assert live_bytes(graph, shapes) == 4 * 10 * 8
    # a is read once more: its place is not free.
    graph, shapes = graph_of([*nodes, helper.make_node("Neg", ["a"], ["z"])], ["y", "z"], weights)
    assert live_bytes(graph, shapes) == 2 * 4 * 10 * 8


def test_what_is_computed_from_weights_and_what_the_caller_has_do_not_count():
    weights = {"w": np.ones((4, 8), np.float32)}
    nodes = [helper.make_node("Neg", ["w"], ["m"]), helper.make_node("MatMul", ["x", "m"], ["y"])]
    graph, shapes = graph_of(nodes, ["y"], weights)
    assert live_bytes(graph, shapes) == 4 * 10 * 8
    # What is written over belongs to the caller: a place of its own.
    graph, shapes = graph_of([helper.make_node("Relu", ["x"], ["y"])], ["y"], {})
    assert live_bytes(graph, shapes) == 4 * 10 * 4
