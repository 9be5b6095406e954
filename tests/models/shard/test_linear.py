"""Gemm and MatMul by columns, rows and heads, against the whole model, at odd sizes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests import onnx_models
from tests.models.shard.numbers import SHARDS, SIZES, numbers
from tests.models.shard.sharding import check, largest_shard, sharded
from tests.onnx_models import build
from tests.runtime_version import needs_new_runtime

FLOAT = TensorProto.FLOAT


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(SIZES, min_size=2, max_size=5),
    shards=SHARDS,
    transposed=st.lists(st.booleans(), min_size=4, max_size=4),
    biased=st.lists(st.sampled_from(["no", "vector", "row", "scalar"]), min_size=4, max_size=4),
    scales=st.sampled_from([(1.0, 1.0), (0.5, 2.0)]),
)
def test_chains_of_gemm(
    sizes: list[int], shards: int, transposed: list[bool], biased: list[str], scales: tuple[float, float]
):
    nodes, weights, value = [], {}, "x"
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{i}"] = numbers(b, a, seed=i) if transposed[i] else numbers(a, b, seed=i)
        shape = {"no": None, "vector": (b,), "row": (1, b), "scalar": (1,)}[biased[i]]
        names = [value, f"w{i}"]
        if shape is not None:
            weights[f"b{i}"] = numbers(*shape, seed=i)
            names.append(f"b{i}")
        nodes.append(
            helper.make_node("Gemm", names, [f"g{i}"], transB=int(transposed[i]), alpha=scales[0], beta=scales[1])
        )
        nodes.append(helper.make_node("Relu", [f"g{i}"], [f"r{i}"]))
        value = f"r{i}"
    proto = build(nodes, [("x", FLOAT, ["n", sizes[0]])], [(value, FLOAT, ["n", sizes[-1]])], weights)
    check(proto, {"x": numbers(3, sizes[0])}, shards, {"x": numbers(1, sizes[0], seed=9)})


@settings(deadline=None, max_examples=40)
@given(
    inner=SIZES,
    hidden=st.integers(2, 13),
    outer=SIZES,
    shards=SHARDS,
    lead=st.lists(st.integers(1, 3), max_size=2),
    bias=st.booleans(),
    between=st.sampled_from(["Relu", "Erf", "Tanh", "Neg", "Abs"]),
)
def test_a_pair_of_matmul_needs_one_sum(
    inner: int, hidden: int, outer: int, shards: int, lead: list[int], bias: bool, between: str
):
    weights = {"w": numbers(inner, hidden), "v": numbers(hidden, outer)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"])]
    if bias:
        weights["b"] = numbers(hidden)
        nodes.append(helper.make_node("Add", ["h", "b"], ["hb"]))
    nodes.append(helper.make_node(between, ["hb" if bias else "h"], ["a"]))
    nodes.append(helper.make_node("MatMul", ["a", "v"], ["y"]))
    rank = [None] * (len(lead) + 1)
    proto = build(nodes, [("x", FLOAT, [*rank, inner])], [("y", FLOAT, [*rank, outer])], weights)
    sharding = check(proto, {"x": numbers(5, *lead, inner)}, shards, {"x": numbers(2, *lead, inner)})
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(hidden=st.integers(2, 9), shards=SHARDS, shape=st.sampled_from([(1, 1), (1,), (1, 1, 1)]), turned=st.booleans())
def test_weights_that_are_reshaped_are_sliced(hidden: int, shards: int, shape: tuple[int, ...], turned: bool):
    """As exporters make a Gemm of a 1 x 1 convolution's weights."""
    own = (hidden, 5) if turned else (5, hidden)
    weights = {"w": numbers(*own, *shape), "to": np.array(own), "v": numbers(hidden, 3)}
    nodes = [
        helper.make_node("Reshape", ["w", "to"], ["w2"]),
        helper.make_node("Gemm", ["x", "w2"], ["h"], transB=int(turned)),
        helper.make_node("Gemm", ["h", "v"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", 5])], [("y", FLOAT, ["n", 3])], weights)
    sharding = check(proto, {"x": numbers(3, 5)}, shards, {"x": numbers(1, 5)})
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


@needs_new_runtime
@settings(deadline=None, max_examples=20)
@given(hidden=st.integers(2, 9), shards=SHARDS, axis=st.sampled_from([-1, 1]), bias=st.booleans())
def test_normalisation_between_pairs(hidden: int, shards: int, axis: int, bias: bool):
    """[n, t, width] -> pair, residual, LayerNormalization over the width, pair: a sum before each, weights divided."""
    width = 6
    weights = {"w0": numbers(width, hidden), "v0": numbers(hidden, width), "w1": numbers(width, hidden, seed=1)}
    weights |= {"v1": numbers(hidden, width, seed=1), "s": numbers(*([4, width] if axis == 1 else [width]))}
    weights |= {"b": weights["s"] * 2} if bias else {}
    names = ["n0", "s", *(["b"] if bias else [])]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"]),
        helper.make_node("Tanh", ["h0"], ["a0"]),
        helper.make_node("MatMul", ["a0", "v0"], ["m0"]),
        helper.make_node("Add", ["m0", "x"], ["n0"]),
        helper.make_node("LayerNormalization", names, ["l0"], axis=axis),
        helper.make_node("MatMul", ["l0", "w1"], ["h1"]),
        helper.make_node("MatMul", ["h1", "v1"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", 4, width])], [("y", FLOAT, ["n", 4, width])], weights)
    sharding = check(proto, {"x": numbers(3, 4, width)}, shards, {"x": numbers(1, 4, width)})
    if hidden >= shards:
        assert list(sharding.joined) == ["m0", "y"]


@settings(deadline=None, max_examples=15)
@given(heads=st.integers(2, 6), shards=SHARDS)
def test_normalisation_of_each_head_stays_on_its_shard(heads: int, shards: int):
    """LayerNormalization over the last axis of [n, t, heads, size], which is divided by heads."""
    weights = {"w": numbers(5, heads * 3), "to": np.array([0, 0, heads, 3]), "s": numbers(3), "b": numbers(3)}
    weights |= {"back": np.array([0, 0, -1]), "v": numbers(heads * 3, 2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Reshape", ["h", "to"], ["a"]),
        helper.make_node("LayerNormalization", ["a", "s", "b"], ["l"], axis=-1),
        helper.make_node("Reshape", ["l", "back"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", "t", 5])], [("y", FLOAT, ["n", "t", 2])], weights)
    sharding = check(proto, {"x": numbers(3, 4, 5)}, shards, {"x": numbers(1, 2, 5)})
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


def test_each_shard_holds_its_share():
    proto = onnx_models.mlp(64, 256, 32, layers=4)
    whole = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    for shards in (2, 4):
        _, stages = sharded(proto, {"x": numbers(3, 64)}, shards)
        assert largest_shard(stages) <= whole / shards * 1.05


def attention(heads: int, size: int, target: str, packed_bias: bool) -> Any:
    """x: [n, t, width] -> self-attention -> [n, t, width], with reshapes by constants, by -1 or by computed sizes."""
    width = heads * size
    weights = {f"w{k}": (numbers(width, width, seed=ord(k)) / width**0.5).astype(np.float32) for k in "qkvo"}
    weights |= {
        "scale": np.float32(size**0.5),
        "apart": np.array([0, 0, heads, size]),
        "together": np.array([0, 0, width]),
    }
    weights |= {"open": np.array([-1]), "h": np.array([heads]), "d": np.array([size]), "two": np.array([0, 0, -1])}
    nodes = []
    if target == "computed":
        nodes.append(helper.make_node("Shape", ["x"], ["nt"], start=0, end=2))
        nodes.append(helper.make_node("Concat", ["nt", "open", "d"], ["target"], axis=0))
    for k in "qkv":
        nodes.append(helper.make_node("MatMul", ["x", f"w{k}"], [f"{k}0"]))
        value = f"{k}0"
        if packed_bias:
            weights[f"b{k}"] = numbers(width, seed=ord(k))
            nodes.append(helper.make_node("Add", [value, f"b{k}"], [f"{k}b"]))
            value = f"{k}b"
        nodes.append(helper.make_node("Reshape", [value, "target" if target == "computed" else "apart"], [f"{k}1"]))
        nodes.append(helper.make_node("Transpose", [f"{k}1"], [k], perm=[0, 2, 3, 1] if k == "k" else [0, 2, 1, 3]))
    nodes += [
        helper.make_node("MatMul", ["q", "k"], ["s0"]),
        helper.make_node("Div", ["s0", "scale"], ["s1"]),
        helper.make_node("Add", ["s1", "mask"], ["s2"]),
        helper.make_node("Softmax", ["s2"], ["s"], axis=-1),
        helper.make_node("MatMul", ["s", "v"], ["c0"]),
        helper.make_node("Transpose", ["c0"], ["c1"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["c1", "two" if target == "open" else "together"], ["c"]),
        helper.make_node("MatMul", ["c", "wo"], ["y"]),
    ]
    inputs = [("x", FLOAT, ["n", "t", width]), ("mask", FLOAT, ["n", 1, 1, "t"])]
    used = {name for node in nodes for name in node.input}
    return build(nodes, inputs, [("y", FLOAT, ["n", "t", width])], {k: v for k, v in weights.items() if k in used})


@settings(deadline=None, max_examples=25)
@given(
    heads=st.integers(2, 5),
    size=st.integers(2, 5),
    shards=SHARDS,
    target=st.sampled_from(["constant", "open", "computed"]),
    bias=st.booleans(),
)
def test_attention_is_divided_by_heads(heads: int, size: int, shards: int, target: str, bias: bool):
    width = heads * size
    feeds = [{"x": numbers(n, t, width), "mask": numbers(n, 1, 1, t)} for n, t in ((3, 7), (1, 4))]
    sharding = check(attention(heads, size, target, bias), feeds[0], shards, feeds[1])
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@pytest.mark.parametrize("mask", [False, True])
def test_dropout_lets_a_pair_through_unless_its_mask_is_read(mask: bool):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Dropout", ["h"], ["d", "m"] if mask else ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"]),
    ]
    outputs = [("y", FLOAT, ["n", 5]), *([("m", TensorProto.BOOL, ["n", 7])] if mask else [])]
    proto = build(nodes, [("x", FLOAT, ["n", 6])], outputs, {"w": numbers(6, 7), "v": numbers(7, 5)})
    joined = check(proto, {"x": numbers(3, 6)}, 2, {"x": numbers(1, 6)}).joined
    assert ("y" in joined and "h" not in joined) != mask


@pytest.mark.parametrize("behind", [(), ("Tanh",), ("Softmax", "Identity")])
@pytest.mark.parametrize("right", ["weight", "data", "itself"])
def test_heads_folded_into_the_rows_are_multiplied(right: str, behind: tuple[str, ...]):
    """[n x heads, t, size], as PyTorch's bmm wants it, times one matrix for all, or times what is folded alike."""
    nodes = [
        helper.make_node("MatMul", ["x", "wq"], ["q"]),
        helper.make_node("Reshape", ["q", "apart"], ["apart_q"]),
        helper.make_node("Transpose", ["apart_q"], ["heads"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["heads", "folded"], ["left"]),
        *([helper.make_node("Exp", ["z"], ["data"])] if right == "data" else []),
        *([helper.make_node("Transpose", ["left"], ["itself"], perm=[0, 2, 1])] if right == "itself" else []),
        helper.make_node("MatMul", ["left", right], ["p0"]),
        *(helper.make_node(op, [f"p{at}"], [f"p{at + 1}"]) for at, op in enumerate(behind)),
        helper.make_node("Identity", [f"p{len(behind)}"], ["y"]),
    ]
    weights = {"wq": numbers(8, 9), "apart": np.array([0, -1, 3, 3]), "folded": np.array([-1, 5, 3])}
    weights |= {"weight": numbers(3, 4)} if right == "weight" else {}
    inputs = [("x", FLOAT, ["n", 5, 8]), *([("z", FLOAT, [3, 4])] if right == "data" else [])]
    proto = build(nodes, inputs, [("y", FLOAT, ["nh", 5, "e"])], weights)
    feeds = [{"x": numbers(n, 5, 8)} | ({"z": numbers(3, 4)} if right == "data" else {}) for n in (2, 3)]
    assert "left" in check(proto, feeds[0], 2, feeds[1]).placements
