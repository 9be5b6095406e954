"""Weights that a model makes of others as it runs are cut where those are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from beamsplit.models.shard.propagate import captured
from tests.models.shard.sharding import check, largest_shard, sharded
from tests.onnx_models import build

FLOAT = TensorProto.FLOAT
node = helper.make_node


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(made: list, weight: np.ndarray, opset: int, **more: np.ndarray):
    """x [rows, 6] -> y = (x @ a) with w, which `made` makes of `weight`, as a second layer."""
    nodes = [node("MatMul", ["x", "a"], ["h"]), *made, node("MatMul", ["h", "w"], ["y"])]
    held = {"a": numbers(6, 6, seed=1), "weight": weight, **more}
    return build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, ["n", None])], held, opset=opset)


CASES = {
    "turned round": ([node("Transpose", ["weight"], ["w"])], numbers(4, 6), 13, {}),
    "in an order": ([node("Transpose", ["weight"], ["w"], perm=[1, 0])], numbers(4, 6), 13, {}),
    "as it is": ([node("Transpose", ["weight"], ["w"], perm=[0, 1])], numbers(6, 4), 13, {}),
    "an axis behind, by attribute": ([node("Unsqueeze", ["weight"], ["w"], axes=[1])], numbers(6), 11, {}),
    "an axis behind": ([node("Unsqueeze", ["weight", "axes"], ["w"])], numbers(6), 13, {"axes": np.array([1])}),
    "the last axis": ([node("Unsqueeze", ["weight", "axes"], ["w"])], numbers(6), 13, {"axes": np.array([-1])}),
}


@pytest.mark.parametrize(("made", "weight", "opset", "more"), CASES.values(), ids=CASES)
def test_a_layer_of_them_is_divided(made: list, weight: np.ndarray, opset: int, more: dict[str, np.ndarray]):
    proto, feeds = model(made, weight, opset, **more), {"x": numbers(5, 6, seed=2)}
    sharding = check(proto, feeds, 2, {"x": numbers(2, 6, seed=3)})
    assert not sharding.kept_whole
    _, stages = sharded(proto, feeds, 2)
    # Half of the first layer's columns and of the second's rows.
    assert 4 * (36 + weight.size) / 2 <= largest_shard(stages) <= 4 * (36 + weight.size) / 2 + 64


@pytest.mark.parametrize("axes", [[0], [-2]])
def test_an_axis_in_front_of_a_bias(axes: list[int]):
    nodes = [
        node("MatMul", ["x", "a"], ["h"]),
        node("Unsqueeze", ["bias", "axes"], ["b"]),
        node("Add", ["h", "b"], ["s"]),
        node("MatMul", ["s", "c"], ["y"]),
    ]
    held = {"a": numbers(6, 6), "c": numbers(6, 6, seed=1), "bias": numbers(6, seed=4), "axes": np.array(axes)}
    proto = build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, ["n", 6])], held, opset=13)
    sharding = check(proto, {"x": numbers(5, 6, seed=2)}, 2)
    assert not sharding.kept_whole and len(sharding.decisions) >= 3


def test_bodies_capture_what_they_do_not_make_themselves():
    out = helper.make_tensor_value_info("out", FLOAT, None)
    inner = [node("Add", ["h", "c"], ["t"]), node("Mul", ["t", "k"], ["out"])]
    own = [helper.make_tensor("k", FLOAT, [1], [2.0])]
    deep = helper.make_graph(
        [node("If", ["flag"], ["out"], then_branch=helper.make_graph(inner, "b", [], [out], own))], "d", [], [out]
    )
    made = node("If", ["cond"], ["y"], then_branch=helper.make_graph(inner, "a", [], [out], own), else_branch=deep)
    proto = build(
        [made],
        [("cond", TensorProto.BOOL, []), ("flag", TensorProto.BOOL, []), ("h", FLOAT, ["n"]), ("c", FLOAT, ["n"])],
        [("y", FLOAT, ["n"])],
    )
    (found,) = ir.from_proto(proto).graph
    assert sorted(captured(found)) == ["c", "c", "flag", "h", "h"]
