"""Products, activations and norms fused into one operator, on shards, against the whole model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.models.shard.layers import EXTRA, FLOAT, INT32, MS, model, projected
from tests.models.shard.numbers import SHARDS, SIZES, numbers
from tests.models.shard.sharding import check
from tests.onnx_models import build


@settings(deadline=None, max_examples=20)
@given(
    hidden=st.integers(2, 9),
    shards=SHARDS,
    op=st.sampled_from(["BiasGelu", "FastGelu", "FastGelu of one", "QuickGelu"]),
)
def test_activations_with_a_bias(hidden: int, shards: int, op: str):
    weights = {"w": numbers(5, hidden), "b": numbers(hidden), "v": numbers(hidden, 3)}
    operands = ["h", "b"] if op in ("BiasGelu", "FastGelu") else ["h"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node(op.split()[0], operands, ["g"], domain=MS),
        helper.make_node("MatMul", ["g", "v"], ["y"]),
    ]
    sharding = check(model(nodes, weights, [("x", FLOAT, ["n", 2, 5])], 3), {"x": numbers(3, 2, 5)}, shards)
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=30)
@given(
    inner=SIZES, hidden=st.integers(2, 9), outer=SIZES, shards=SHARDS, first=st.booleans(), second=st.booleans(),
)  # fmt: skip
def test_a_pair_of_products_with_turned_weights(
    inner: int, hidden: int, outer: int, shards: int, first: bool, second: bool
):
    weights = {"w": numbers(*((hidden, inner) if first else (inner, hidden)))}
    weights["v"] = numbers(*((outer, hidden) if second else (hidden, outer)), seed=1)
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["h"], domain=MS, transB=int(first), alpha=0.5),
        helper.make_node("Tanh", ["h"], ["a"]),
        helper.make_node("FusedMatMul", ["a", "v"], ["y"], domain=MS, transB=int(second), alpha=2.0),
    ]
    proto = model(nodes, weights, [("x", FLOAT, ["n", 2, inner])], outer)
    sharding = check(proto, {"x": numbers(3, 2, inner)}, shards, {"x": numbers(1, 2, inner)})
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(heads=st.integers(2, 5), size=st.integers(2, 4), shards=SHARDS, turned=st.booleans())
def test_products_of_heads(heads: int, size: int, shards: int, turned: bool):
    """q x k turned, as ONNX Runtime fuses it, or k turned before; scores stay on the shard."""
    width = heads * size
    nodes, weights = projected(6, dict.fromkeys("qkv", width), width, 5)
    weights |= {"to": np.array([0, 0, heads, size]), "back": np.array([0, 0, -1])}
    for name in "qkv":
        nodes.append(helper.make_node("Reshape", [name, "to"], [f"{name}r"]))
        perm = [0, 2, 3, 1] if name == "k" and not turned else [0, 2, 1, 3]
        nodes.append(helper.make_node("Transpose", [f"{name}r"], [f"{name}t"], perm=perm))
    nodes += [
        helper.make_node("FusedMatMul", ["qt", "kt"], ["s"], domain=MS, transB=int(turned), alpha=0.3),
        helper.make_node("Softmax", ["s"], ["p"], axis=-1),
        helper.make_node("FusedMatMul", ["p", "vt"], ["c"], domain=MS),
        helper.make_node("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ct", "back"], ["cr"]),
        helper.make_node("MatMul", ["cr", "wo"], ["y"]),
    ]
    sharding = check(model(nodes, weights, [("x", FLOAT, ["n", 3, 6])], 5), {"x": numbers(2, 3, 6)}, shards)
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_an_activation_in_a_gemm_is_of_the_whole_sum(activation: str):
    attributes = {"activation": activation, "activation_alpha": 0.1, "alpha": 1.0, "beta": 1.0, "transB": 1}
    nodes = [
        helper.make_node("FusedGemm", ["x", "w", "b"], ["h"], domain=MS, **attributes),
        helper.make_node("FusedGemm", ["h", "v"], ["y"], domain=MS, **attributes),
    ]
    weights = {"w": numbers(9, 5), "b": numbers(9), "v": numbers(7, 9)}
    proto = build(nodes, [("x", FLOAT, ["n", 5])], [("y", FLOAT, ["n", 7])], weights, extra_opsets=EXTRA)
    sharding = check(proto, {"x": numbers(3, 5)}, 2, {"x": numbers(1, 5)})
    assert list(sharding.joined) == ["h", "y"] and all(sharding.decisions)


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_a_norm_between_pairs_stays_whole(op: str):
    """The sum before it is joined, and what it needs of the row is there."""
    weights = {"w": numbers(6, 8), "v": numbers(8, 6), "g": numbers(6), "w1": numbers(6, 8, seed=1)}
    weights["v1"] = numbers(8, 6, seed=1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["m"]),
        helper.make_node(op, ["m", "x", "g"], ["l"], domain=MS, name="norm"),
        helper.make_node("MatMul", ["l", "w1"], ["h1"]),
        helper.make_node("MatMul", ["h1", "v1"], ["y"]),
    ]
    sharding = check(model(nodes, weights, [("x", FLOAT, ["n", 2, 6])], 6), {"x": numbers(3, 2, 6)}, 2)
    assert list(sharding.joined) == ["m", "y"] and "norm" not in sharding.decisions


@settings(deadline=None, max_examples=15)
@given(heads=st.integers(2, 6), shards=SHARDS, op=st.sampled_from(["RMS", "Skip"]))
def test_norms_of_each_head_stay_on_its_shard(heads: int, shards: int, op: str):
    weights = {"w": numbers(5, heads * 3), "to": np.array([0, 0, heads, 3]), "s": numbers(3)}
    weights |= {"back": np.array([0, 0, -1]), "v": numbers(heads * 3, 2)}
    norm = helper.make_node("RMSNormalization", ["a", "s"], ["l"], axis=-1)
    if op == "Skip":
        # It takes no more than three axes: [n, heads, t x 3].
        weights |= {"to": np.array([0, heads, -1]), "s": numbers(6), "back": np.array([0, 2, -1])}
        norm = helper.make_node("SkipLayerNormalization", ["a", "b", "s"], ["l"], domain=MS)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Reshape", ["h", "to"], ["a"]),
        helper.make_node("Neg", ["a"], ["b0"]),
        helper.make_node("Tanh", ["b0"], ["b"]),
        norm,
        helper.make_node("Reshape", ["l", "back"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    proto = model(nodes, weights, [("x", FLOAT, ["n", 2, 5])], 2, 23)
    sharding = check(proto, {"x": numbers(3, 2, 5)}, shards)
    if heads >= shards and op == "RMS":
        assert list(sharding.joined) == ["y"]


def test_a_table_that_is_normalised_at_once_stays_whole():
    weights = {"table": numbers(20, 6), "at": numbers(8, 6), "g": numbers(6), "b": numbers(6)}
    weights |= {"w": numbers(6, 8), "v": numbers(8, 5)}
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization", ["i", "", "table", "at", "", "g", "b"], ["e", "m"], domain=MS, name="embed"
        ),
        helper.make_node("MatMul", ["e", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    sharding = check(model(nodes, weights, [("i", INT32, ["n", "t"])], 5), {"i": ids}, 2)
    assert sharding.kept_whole["embed"].startswith("EmbedLayerNormalization: it looks up and normalises at once")
    assert list(sharding.joined) == ["y"]
