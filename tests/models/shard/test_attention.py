"""Attention as one operator, divided by heads, against the whole model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.annotate import save_annotated
from beamsplit.models.shard.annotation import read_annotation
from beamsplit.models.shard.planner import make_division
from tests import onnx_models
from tests.models.shard.layers import FLOAT, INT32, MS, model, projected
from tests.models.shard.numbers import SHARDS, numbers
from tests.models.shard.sharding import check, largest_shard, sharded
from tests.runtime_version import needs_new_runtime


@settings(deadline=None, max_examples=30)
@given(
    heads=st.integers(2, 5),
    size=st.integers(1, 4).map(lambda one: 2 * one),
    values=st.sampled_from([None, 2, 6]),
    shards=SHARDS,
    mask=st.sampled_from(["", "lengths", "rows"]),
    position=st.sampled_from(["", "shared", "of each head", "computed"]),
    causal=st.booleans(),
)
def test_attention_with_its_weights(
    heads: int, size: int, values: int | None, shards: int, mask: str, position: str, causal: bool
):
    """With a bias: ONNX Runtime 1.31 on CPU breaks down without one."""
    width, v = 7, values or size
    hidden = heads * (2 * size + v)
    weights = {"w": numbers(width, hidden) / 3, "b": numbers(hidden), "wo": numbers(heads * v, 5)}
    weights["shared"], weights["each"] = numbers(1, 1, 4, 4, seed=1), numbers(1, heads, 4, 4, seed=2)
    nodes = [helper.make_node("Neg", ["each"] if position != "computed" else ["p"], ["computed"])]
    inputs = [("x", FLOAT, ["n", 4, width])]
    feeds = [{"x": numbers(n, 4, width)} for n in (3, 1)]
    if mask:
        inputs.append(("m", INT32, ["n"] if mask == "lengths" else ["n", 4]))
        for feed in feeds:
            n = len(feed["x"])
            feed["m"] = np.full(n, 3, np.int32) if mask == "lengths" else np.tile(np.int32([1, 1, 1, 0]), (n, 1))
    if position == "computed":
        inputs.append(("p", FLOAT, [1, heads, 4, 4]))
        for feed in feeds:
            feed["p"] = numbers(1, heads, 4, 4, seed=8)
    name = {"": "", "shared": "shared", "of each head": "each", "computed": "computed"}[position]
    names = ["x", "w", "b", "m" if mask else "", "", name]
    sizes = {"qkv_hidden_sizes": [heads * size, heads * size, heads * v]} if values else {}
    nodes = nodes if position == "computed" else []
    nodes += [
        helper.make_node(
            "Attention", names, ["a"], domain=MS, name="attend", num_heads=heads, unidirectional=int(causal), **sizes
        ),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    sharding = check(model(nodes, weights, inputs, 5), feeds[0], shards, feeds[1])
    if heads >= shards:
        assert list(sharding.joined) == ["y"]
    else:
        assert sharding.kept_whole["attend"] == f"Attention: {heads} heads are not enough for {shards} shards"


@settings(deadline=None, max_examples=40)
@given(
    heads=st.integers(2, 5),
    size=st.integers(1, 4).map(lambda one: 2 * one),
    shards=SHARDS,
    dtype=st.sampled_from([np.int8, np.uint8]),
    per_column=st.booleans(),
    zero=st.sampled_from(["", "one", "a column"]),
    mask=st.booleans(),
    past=st.integers(0, 2),
)
def test_attention_with_quantised_weights(
    heads: int, size: int, shards: int, dtype: type, per_column: bool, zero: str, mask: bool, past: int
):
    width, hidden, rng = 7, 3 * heads * size, np.random.default_rng(size)
    weights = {"w": rng.integers(0, 20, (width, hidden)).astype(dtype), "b": numbers(hidden), "xs": np.float32(0.05)}
    weights |= {"s": (rng.random(hidden if per_column else ()) / 20).astype(np.float32), "xz": np.uint8(128)}
    weights |= {"z": rng.integers(5, 12, hidden if zero == "a column" else ()).astype(dtype)}
    weights |= {"wo": numbers(heads * size, 5)}
    inputs, feeds = [("x", FLOAT, ["n", 3, width])], [{"x": numbers(n, 3, width)} for n in (3, 1)]
    if mask:
        inputs.append(("m", INT32, ["n"]))
    if past:
        inputs.append(("p", FLOAT, [2, "n", heads, "past", size]))
    for feed in feeds:
        n = len(feed["x"])
        feed |= {"m": np.full(n, 2 + past, np.int32)} if mask else {}
        feed |= {"p": numbers(2, n, heads, past, size, seed=4)} if past else {}
    names = ["q", "w", "b", "xs", "s", "m" if mask else "", "xz", "z" if zero else "", "p" if past else ""]
    made = ["a", "cache"] if past else ["a"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("QAttention", names, made, domain=MS, name="attend", num_heads=heads, unidirectional=1),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    proto = model(nodes, weights, inputs, 5)
    if past:
        proto.graph.output.append(helper.make_tensor_value_info("cache", FLOAT, [2, "n", heads, "all", size]))
    sharding = check(proto, feeds[0], shards, feeds[1])
    if heads >= shards:
        assert sorted(sharding.joined) == (["cache", "y"] if past else ["y"])
    else:
        assert sharding.kept_whole["attend"] == f"QAttention: {heads} heads are not enough for {shards} shards"


@settings(deadline=None, max_examples=30)
@given(
    heads=st.integers(2, 5),
    size=st.integers(1, 3).map(lambda one: 2 * one),
    values=st.sampled_from([None, 4]),
    shards=SHARDS,
    bias=st.booleans(),
    position=st.sampled_from(["", "shared", "of each head"]),
    keys=st.sampled_from(["projected", "given", "given by heads"]),
    padding=st.booleans(),
)
def test_multi_head_attention(
    heads: int, size: int, values: int | None, shards: int, bias: bool, position: str, keys: str, padding: bool
):
    v = size if keys == "given by heads" else values or size
    sizes = {"q": heads * size, "k": heads * size, "v": heads * v}
    projections = sizes if keys == "projected" else {"q": heads * size}
    nodes, weights = projected(6, projections, heads * v, 5)
    inputs, feeds = [("x", FLOAT, ["n", 3, 6])], [{"x": numbers(n, 3, 6)} for n in (3, 1)]
    t = 3
    if keys != "projected":
        t = 4
        for name in "kv":
            each = sizes[name] // heads
            shape = [heads, t, each] if keys == "given by heads" else [t, heads * each]
            inputs.append((name, FLOAT, ["n", *shape]))
            for feed in feeds:
                feed[name] = numbers(len(feed["x"]), *shape, seed=ord(name))
    bias = bias and keys != "given by heads"
    weights |= {"b": numbers(sum(sizes.values())), "shared": numbers(1, 1, 3, t), "each": numbers(1, heads, 3, t)}
    names = ["q", "k", "v", "b" if bias else "", "m" if padding else ""]
    names += [{"": "", "shared": "shared", "of each head": "each"}[position]]
    if padding:
        inputs.append(("m", INT32, ["n", t]))
        for feed in feeds:
            feed["m"] = np.tile(np.int32([1, 1, 0, 1][:t]), (len(feed["x"]), 1))
    nodes += [
        helper.make_node("MultiHeadAttention", names, ["a"], domain=MS, num_heads=heads),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    sharding = check(model(nodes, weights, inputs, 5), feeds[0], shards, feeds[1])
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(groups=st.integers(2, 4), each=st.integers(1, 3), shards=SHARDS, past=st.integers(0, 2), rotary=st.booleans())
def test_group_query_attention_and_its_cache(groups: int, each: int, shards: int, past: int, rotary: bool):
    """Heads that share keys and values stay together; the cache that comes in and that goes out are divided too."""
    heads, size, t = groups * each, 16, 3
    nodes, weights = projected(6, {"q": heads * size, "k": groups * size, "v": groups * size}, heads * size, 5)
    weights |= {"cos": numbers(8, size // 2, seed=1), "sin": numbers(8, size // 2, seed=2)}
    inputs = [("x", FLOAT, ["n", "t", 6]), ("s", INT32, ["n"]), ("total", INT32, [])]
    inputs += [(name, FLOAT, ["n", groups, "p", size]) for name in ("pk", "pv")]
    t = 1 if past else t
    feeds = []
    for n in (2, 1):
        feed = {"x": numbers(n, t, 6), "s": np.full(n, past + t - 1, np.int32), "total": np.array(past + t, np.int32)}
        feeds.append({**feed, "pk": numbers(n, groups, past, size), "pv": numbers(n, groups, past, size, seed=1)})
    names = ["q", "k", "v", "pk", "pv", "s", "total", *(["cos", "sin"] if rotary else [])]
    nodes += [
        helper.make_node(
            "GroupQueryAttention", names, ["a", "nk", "nv"], domain=MS, num_heads=heads, kv_num_heads=groups,
            do_rotary=int(rotary),
        ),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, weights, inputs, 5)
    cache = [helper.make_tensor_value_info(name, FLOAT, ["n", groups, "all", size]) for name in ("nk", "nv")]
    made.graph.output.extend(cache)
    sharding = check(made, feeds[0], shards, feeds[1])
    if groups >= shards:
        assert sorted(sharding.joined) == ["nk", "nv", "y"]


@needs_new_runtime
@settings(deadline=None, max_examples=30)
@given(
    groups=st.integers(2, 4),
    each=st.integers(1, 2),
    size=st.sampled_from([2, 6]),
    shards=SHARDS,
    apart=st.booleans(),
    mask=st.sampled_from(["", "shared", "of each head"]),
    causal=st.booleans(),
)
def test_the_attention_of_opset_23(
    groups: int, each: int, size: int, shards: int, apart: bool, mask: str, causal: bool
):
    heads, t = groups * each, 3
    counts = {"q": heads, "k": groups, "v": groups}
    nodes, weights = projected(6, {name: count * size for name, count in counts.items()}, heads * size, 5)
    names = ["q", "k", "v"]
    attributes = {"is_causal": int(causal)}
    if apart:
        for name, count in counts.items():
            weights[f"to{name}"] = np.array([0, 0, count, size])
            nodes.append(helper.make_node("Reshape", [name, f"to{name}"], [f"{name}r"]))
            nodes.append(helper.make_node("Transpose", [f"{name}r"], [f"{name}t"], perm=[0, 2, 1, 3]))
        names = ["qt", "kt", "vt"]
    else:
        attributes |= {"q_num_heads": heads, "kv_num_heads": groups}
    weights |= {"shared": numbers(t, t), "each": numbers(1, heads, t, t), "back": np.array([0, 0, -1])}
    names += [{"": "", "shared": "shared", "of each head": "each"}[mask]]
    nodes.append(helper.make_node("Attention", names, ["a0"], **attributes))
    value = "a0"
    if apart:
        nodes.append(helper.make_node("Transpose", ["a0"], ["a1"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", ["a1", "back"], ["a"]))
        value = "a"
    nodes.append(helper.make_node("MatMul", [value, "wo"], ["y"]))
    feeds = [{"x": numbers(n, t, 6)} for n in (3, 1)]
    sharding = check(model(nodes, weights, [("x", FLOAT, ["n", t, 6])], 5, 23), feeds[0], shards, feeds[1])
    if groups >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(
    heads=st.integers(2, 5), shards=SHARDS, told=st.booleans(), apart=st.booleans(), domain=st.sampled_from(["", MS])
)
def test_rotary_embedding(heads: int, shards: int, told: bool, apart: bool, domain: str):
    size, t = 4, 3
    told = told or (domain == "" and not apart)
    weights = {"w": numbers(6, heads * size), "cos": numbers(t, size // 2), "sin": numbers(t, size // 2, seed=1)}
    weights |= {"to": np.array([0, 0, heads, size]), "back": np.array([0, 0, -1]), "wo": numbers(heads * size, 5)}
    weights["ids"] = np.arange(t)[None].repeat(2, 0)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"])]
    value = "h"
    if apart:
        nodes.append(helper.make_node("Reshape", ["h", "to"], ["r"]))
        nodes.append(helper.make_node("Transpose", ["r"], ["rt"], perm=[0, 2, 1, 3]))
        value = "rt"
    names = [value, "ids", "cos", "sin"] if domain else [value, "cos", "sin", "ids"]
    nodes.append(
        helper.make_node("RotaryEmbedding", names, ["e"], domain=domain, **({"num_heads": heads} if told else {}))
    )
    value = "e"
    if apart:
        nodes.append(helper.make_node("Transpose", ["e"], ["et"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", ["et", "back"], ["eb"]))
        value = "eb"
    nodes.append(helper.make_node("MatMul", [value, "wo"], ["y"]))
    proto = model(nodes, weights, [("x", FLOAT, ["n", t, 6])], 5, 23)
    sharding = check(proto, {"x": numbers(2, t, 6)}, shards)
    if heads >= shards:
        assert list(sharding.joined) == ["y"]


@pytest.mark.parametrize("shards", [2, 3])
def test_each_shard_holds_its_heads(shards: int):
    weights = {"w": numbers(64, 3 * 60), "b": numbers(180), "wo": numbers(60, 64)}
    nodes = [
        helper.make_node("Attention", ["x", "w", "b"], ["a"], domain=MS, num_heads=5),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    _, stages = sharded(model(nodes, weights, [("x", FLOAT, ["n", 3, 64])], 64), {"x": numbers(2, 3, 64)}, shards)
    whole = sum(weight.nbytes for weight in weights.values())
    assert largest_shard(stages) == whole * -(-5 // shards) / 5


def test_its_bytes_are_those_of_weight_and_bias(tmp_path: Path):
    weights = {"w": numbers(64, 3 * 60), "b": numbers(180), "wo": numbers(60, 64)}
    nodes = [
        helper.make_node("Attention", ["x", "w", "b"], ["a"], domain=MS, name="attend", num_heads=5),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    proto = model(nodes, weights, [("x", FLOAT, ["n", 3, 64])], 64)
    division = make_division(ModelFile(onnx_models.save(proto, tmp_path / "m.onnx")), {"x": numbers(2, 3, 64)}, 2, 1)
    attention, product = (64 * 180 + 180) * 4, 60 * 64 * 4
    assert [one.weight_bytes for one in division.plan.layers] == [attention, product]
    assert division.plan.sharded_bytes == division.plan.weight_bytes == attention + product
    whole = attention + product
    assert [division.plan.shard_bytes(shard) for shard in (0, 1)] == [whole * 3 / 5, whole * 2 / 5], "3 heads and 2"


def test_annotated_and_read_back(tmp_path: Path):
    """The standard has no word for a weight of which three parts are cut: the node's output tells."""
    weights = {"w": numbers(6, 3 * 20), "b": numbers(60), "wo": numbers(20, 5)}
    nodes = [
        helper.make_node("Attention", ["x", "w", "b"], ["a"], domain=MS, name="attend", num_heads=5),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]
    whole = ModelFile(onnx_models.save(model(nodes, weights, [("x", FLOAT, ["n", 3, 6])], 5), tmp_path / "m.onnx"))
    feeds = {"x": numbers(2, 3, 6)}
    division = make_division(whole, feeds, 2, 1)
    annotated = ModelFile(str(tmp_path / "annotated.onnx"))
    save_annotated(load_graph(whole), division.sharding, annotated.path)
    again = make_division(annotated, feeds, 2, 1, read_annotation(annotated))
    assert [(one.node, one.pieces) for one in again.plan.layers] == [("attend", (36, 24)), ("MatMul", (12, 8))]
