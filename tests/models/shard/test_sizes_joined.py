"""What whole steps are given of a shard: sizes of its slices made whole again, and weights for bodies of nodes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.shard.placement import Sizes
from tests.models.shard.sharding import check
from tests.onnx_models import build

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def weights(*names: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal((6, 6)).astype(np.float32) for name in names}


def feeds(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((rows, 6)).astype(np.float32)}


LAYERS = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]


@pytest.mark.parametrize("opset", [10, 11, 17])
@pytest.mark.parametrize("of", ["all", "the split axis", "the rows"])
def test_sizes_of_a_slice_are_whole_again_where_they_leave_the_shards(opset: int, of: str):
    nodes, shape = [*LAYERS, helper.make_node("Shape", ["h"], ["s" if of == "all" else "sizes"])], [2]
    if of != "all":
        nodes.append(helper.make_node("Gather", ["sizes", "at"], ["s"], axis=0))
        shape = []
    held = weights("a", "b") | {"at": np.array(int(of == "the split axis"), np.int64)}
    model = build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, ["n", 6]), ("s", INT, shape)], held, opset=opset)
    sharding = check(model, feeds(4), 2, feeds(1), feeds(7))
    assert isinstance(sharding.placements["s"], Sizes)


def test_a_body_finds_the_weights_that_it_names():
    """An If whose branches read a weight of the model around them stays whole, and is given that weight."""
    branches = {}
    for name, op in (("then_branch", "Add"), ("else_branch", "Mul")):
        made = helper.make_tensor_value_info(f"{name}_out", FLOAT, ["n", 6])
        branches[name] = helper.make_graph([helper.make_node(op, ["h", "c"], [f"{name}_out"])], name, [], [made])
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("ReduceMax", ["h"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["either"], **branches),
        helper.make_node("MatMul", ["either", "b"], ["y"]),
    ]
    held = weights("a", "b") | {"c": np.arange(6, dtype=np.float32), "limit": np.float32(0)}
    model = build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, ["n", 6])], held, opset=17)
    low = {"x": np.zeros((3, 6), np.float32)}
    sharding = check(model, feeds(4), 2, low)
    assert len(sharding.decisions) == 2, "both layers are divided"
