"""Queries, keys and values that one product packs into one tensor: its columns are cut in three parts, by heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests import onnx_models
from tests.models.shard.annotated import said
from tests.models.shard.layers import FLOAT, INT32, MS, model
from tests.models.shard.numbers import SHARDS, numbers
from tests.models.shard.products import product
from tests.models.shard.sharding import check, largest_shard, sharded
from tests.models.shard.written_back import comes_back
from tests.runtime_version import needs_new_runtime

PRODUCTS = ["MatMul", "Gemm", "Gemm, turned", "MatMulNBits", "QDQ", "MatMulInteger"]


def packed(kind: str, width: int, columns: int) -> tuple[list[Any], dict[str, Any]]:
    """x [n, t, width] -> qkv [n, t, columns], as exporters write one linear layer with a bias."""
    weights: dict[str, Any] = {"w": numbers(width, columns) / width**0.5, "b": numbers(columns)}
    weights |= {"flat": np.array([-1, width]), "apart": np.array([0, 0, -1])}
    if kind.startswith("Gemm"):
        turned = kind != "Gemm"
        weights |= {"w": np.ascontiguousarray(weights["w"].T)} if turned else {}
        nodes = [
            helper.make_node("Shape", ["x"], ["nt"], start=0, end=2),
            helper.make_node("Concat", ["nt", "open"], ["back"], axis=0),
            helper.make_node("Reshape", ["x", "flat"], ["x2"]),
            helper.make_node("Gemm", ["x2", "w", "b"], ["h2"], transB=int(turned)),
            helper.make_node("Reshape", ["h2", "back"], ["qkv"]),
        ]
        return nodes, weights | {"open": np.array([-1])}
    if kind == "MatMulNBits":
        node, own = product("qkv", "x", width, columns, bias=True, zero="packed")
        return [node], own
    weights |= {"wi": np.random.default_rng(1).integers(-9, 9, (width, columns)).astype(np.int8)}
    weights |= {"ws": (np.random.default_rng(2).random(columns) / 9).astype(np.float32), "s1": np.float32(0.1)}
    weights["z"] = np.zeros(columns, np.int8)
    add = helper.make_node("Add", ["h", "b"], ["qkv"])
    if kind == "QDQ":
        return [
            helper.make_node("DequantizeLinear", ["wi", "ws", "z"], ["wf"], axis=1),
            helper.make_node("MatMul", ["x", "wf"], ["h"]),
            add,
        ], weights
    if kind == "MatMulInteger":
        return [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            helper.make_node("MatMulInteger", ["xq", "wi", "xz"], ["hi"]),
            helper.make_node("Cast", ["hi"], ["hf"], to=FLOAT),
            helper.make_node("Mul", ["xs", "s1"], ["scale"]),
            helper.make_node("Mul", ["hf", "scale"], ["h"]),
            add,
        ], weights
    return [helper.make_node("MatMul", ["x", "w"], ["h"]), add], weights


def heads_apart(heads: int, size: int) -> tuple[list[Any], dict[str, Any]]:
    """q, k, v [n, t, heads x size] -> attention -> y, as plain operators."""
    weights = {"to": np.array([0, 0, heads, size]), "end": np.array([0, 0, heads * size])}
    weights |= {"wo": numbers(heads * size, 5) / (heads * size) ** 0.5}
    nodes = []
    for name in "qkv":
        nodes.append(helper.make_node("Reshape", [name, "to"], [f"{name}r"]))
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes.append(helper.make_node("Transpose", [f"{name}r"], [f"{name}t"], perm=perm))
    return nodes + behind("qt", "kt", "vt"), weights


def behind(q: str, k: str, v: str) -> list[Any]:
    """[n, heads, t, size], k turned -> y."""
    return [
        helper.make_node("MatMul", [q, k], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", v], ["c"]),
        helper.make_node("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ct", "end"], ["cr"]),
        helper.make_node("MatMul", ["cr", "wo"], ["y"]),
    ]


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(PRODUCTS),
    heads=st.integers(2, 5),
    size=st.integers(1, 4),
    shards=SHARDS,
    told=st.sampled_from(["sizes", "equal"]),
)
def test_split_into_queries_keys_and_values(kind: str, heads: int, size: int, shards: int, told: str):
    """As GPT-2 has it."""
    nodes, weights = packed(kind, 6, 3 * heads * size)
    after, more = heads_apart(heads, size)
    weights |= more | {"thirds": np.array([heads * size] * 3)}
    names = ["qkv", "thirds"] if told == "sizes" else ["qkv"]
    nodes += [helper.make_node("Split", names, ["q", "k", "v"], axis=2, name="apart"), *after]
    proto = model(nodes, weights, [("x", FLOAT, ["n", "t", 6])], 5)
    sharding = check(proto, {"x": numbers(3, 4, 6)}, shards, {"x": numbers(1, 2, 6)})
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@needs_new_runtime
@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(PRODUCTS),
    groups=st.integers(2, 4),
    each=st.integers(1, 3),
    shards=SHARDS,
    past=st.integers(0, 2),
    out=st.booleans(),
)
def test_group_query_attention_with_packed_queries(
    kind: str, groups: int, each: int, shards: int, past: int, out: bool
):
    """As Phi-3 has it; `out` by whole blocks of 4-bit numbers."""
    heads, size = groups * each, 16
    nodes, weights = packed(kind, 6, (heads + 2 * groups) * size)
    weights |= {"cos": numbers(8, size // 2, seed=1), "sin": numbers(8, size // 2, seed=2)}
    weights |= {"wo": numbers(heads * size, 5) / (heads * size) ** 0.5}
    inputs = [("x", FLOAT, ["n", "t", 6]), ("s", INT32, ["n"]), ("total", INT32, [])]
    inputs += [(name, FLOAT, ["n", groups, "p", size]) for name in ("pk", "pv")]
    t, feeds = 1 if past else 3, []
    for n in (2, 1):
        feed = {"x": numbers(n, t, 6), "s": np.full(n, past + t - 1, np.int32), "total": np.array(past + t, np.int32)}
        feeds.append({**feed, "pk": numbers(n, groups, past, size), "pv": numbers(n, groups, past, size, seed=1)})
    nodes.append(
        helper.make_node(
            "GroupQueryAttention", ["qkv", "", "", "pk", "pv", "s", "total", "cos", "sin"], ["a", "nk", "nv"],
            domain=MS, name="attend", num_heads=heads, kv_num_heads=groups, do_rotary=1,
        )
    )  # fmt: skip
    last, own = product("y", "a", heads * size, 5, block=32)
    weights |= own
    nodes.append(last if out else helper.make_node("MatMul", ["a", "wo"], ["y"]))
    made = model(nodes, weights, inputs, 5)
    cache = [helper.make_tensor_value_info(name, FLOAT, ["n", groups, "all", size]) for name in ("nk", "nv")]
    made.graph.output.extend(cache)
    sharding = check(made, feeds[0], shards, feeds[1])
    if groups >= shards and not out:
        assert sorted(sharding.joined) == ["nk", "nv", "y"]
    elif groups < shards:
        told = f"GroupQueryAttention: its {groups} heads, packed into one tensor, are not divided whole"
        assert sharding.kept_whole["attend"] == told


@settings(deadline=None, max_examples=20)
@given(heads=st.integers(2, 5), size=st.integers(2, 4), shards=SHARDS, kind=st.sampled_from(PRODUCTS))
def test_an_axis_of_queries_keys_and_values(heads: int, size: int, shards: int, kind: str):
    """As vision transformers have it: [n, t, 3, heads, size], turned, and each taken by its number."""
    nodes, weights = packed(kind, 6, 3 * heads * size)
    _, more = heads_apart(heads, size)
    weights |= more | {"to": np.array([0, 0, 3, heads, size])} | {f"at{k}": np.array(k) for k in range(3)}
    nodes += [
        helper.make_node("Reshape", ["qkv", "to"], ["r"]),
        helper.make_node("Transpose", ["r"], ["rt"], perm=[2, 0, 3, 1, 4]),
        *(helper.make_node("Gather", ["rt", f"at{at}"], [name], axis=0) for at, name in enumerate("qkv")),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        *behind("q", "kt", "v"),
    ]
    proto = model(nodes, weights, [("x", FLOAT, ["n", "t", 6])], 5)
    sharding = check(proto, {"x": numbers(3, 4, 6)}, shards, {"x": numbers(1, 2, 6)})
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    shards=SHARDS,
    read=st.booleans(),
    between=st.sampled_from(["Tanh", "Neg"]),
)
def test_parts_of_any_sizes_and_a_packed_tensor_that_is_read_whole(
    sizes: list[int], shards: int, read: bool, between: str
):
    """What is read whole is put in order again; Tanh does not know of parts."""
    total = sum(sizes)
    weights = {"w": numbers(6, total), "b": numbers(total), "sizes": np.array(sizes)}
    weights |= {f"w{at}": numbers(size, 5, seed=at) for at, size in enumerate(sizes)}
    names = [f"p{at}" for at in range(len(sizes))]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h0"]),
        helper.make_node("Add", ["h0", "b"], ["h1"]),
        helper.make_node(between, ["h1"], ["h"]),
        helper.make_node("Split", ["h", "sizes"], names, axis=-1),
        *(helper.make_node("MatMul", [name, f"w{at}"], [f"y{at}"]) for at, name in enumerate(names)),
        helper.make_node("Sum", [f"y{at}" for at in range(len(sizes))], ["y"]),
    ]
    proto = model(nodes, weights, [("x", FLOAT, ["n", "t", 6])], 5)
    if read:
        proto.graph.output.append(helper.make_tensor_value_info("h1", FLOAT, ["n", "t", total]))
    check(proto, {"x": numbers(3, 4, 6)}, shards, {"x": numbers(1, 2, 6)})


@pytest.mark.parametrize("axis", [0, 1])
def test_split_along_another_axis(axis: int):
    """Rows and positions are taken apart on each shard."""
    weights = {"w": numbers(6, 9), "v": numbers(9, 5), "two": np.array([2, 2])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Split", ["h", "two"], ["a", "b"], axis=axis),
        helper.make_node("Mul", ["a", "b"], ["m"]),
        helper.make_node("MatMul", ["m", "v"], ["y"]),
    ]
    sharding = check(model(nodes, weights, [("x", FLOAT, [4, 4, 6])], 5), {"x": numbers(4, 4, 6)}, 2)
    assert list(sharding.joined) == ["y"]


def test_each_shard_holds_its_heads_of_all_three():
    nodes, weights = packed("MatMul", 64, 3 * 64)
    after, more = heads_apart(8, 8)
    nodes += [helper.make_node("Split", ["qkv"], ["q", "k", "v"], axis=2), *after]
    proto = model(nodes, weights | more, [("x", FLOAT, ["n", 3, 64])], 5)
    whole = 4 * (64 * 192 + 192 + 64 * 5)
    for shards in (2, 4):
        _, stages = sharded(proto, {"x": numbers(2, 3, 64)}, shards)
        assert largest_shard(stages) <= whole / shards * 1.02


def test_annotated_and_read_back(tmp_path: Path):
    """The standard has no word for parts: what the product makes tells its axis, and the Split behind it the rest."""
    nodes, weights = packed("MatMul", 32, 3 * 40)
    after, more = heads_apart(5, 8)
    nodes += [helper.make_node("Split", ["qkv"], ["q", "k", "v"], axis=2), *after]
    path = onnx_models.save(model(nodes, weights | more, [("x", FLOAT, ["n", 3, 32])], 5), tmp_path / "model.onnx")
    plan = comes_back(path, lambda rows: {"x": numbers(rows, 3, 32)}, 2, tmp_path, 3, 1)
    assert said(plan)[0] == ("w", 1, "slices") and plan.layers[0].pieces == (72, 48)
