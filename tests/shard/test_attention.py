"""Attention, norms and products as one operator each, divided by heads, against the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from models.graph import ModelFile
from models.shard.annotate import save_annotated
from models.shard.annotation import read_annotation
from models.shard.planner import make_division
from models.split.load import load_graph
from tests import onnx_models
from tests.onnx_models import build
from tests.shard.sharding import check, largest_shard, sharded
from tests.shard.test_linear import SHARDS, SIZES, numbers

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
MS = "com.microsoft"
EXTRA = {MS: 1}


def projected(width: int, sizes: dict[str, int], out: int, back: int) -> tuple[list[Any], dict[str, Any]]:
    """x [n, t, width] -> q, k, v by MatMul, and the weight behind the attention, `out` long: [out, back]."""
    nodes = [helper.make_node("MatMul", ["x", f"w{name}"], [name]) for name in sizes]
    weights = {f"w{name}": numbers(width, size, seed=ord(name)) / width**0.5 for name, size in sizes.items()}
    return nodes, {**weights, "wo": numbers(out, back, seed=5) / out**0.5}


def model(nodes: list[Any], weights: dict[str, Any], inputs: list[Any], back: int, opset: int = 17) -> Any:
    used = {name for node in nodes for name in node.input}
    made = build(
        nodes, inputs, [("y", FLOAT, ["n", "t", back])], {k: v for k, v in weights.items() if k in used},
        extra_opsets=EXTRA, opset=opset,
    )  # fmt: skip
    made.ir_version = max(made.ir_version, 10)
    return made


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


def test_what_cannot_be_divided_is_told():
    """Packed queries, keys and values; a cache written in place."""
    weights = {"w": numbers(6, 4 * 3 * 16), "wo": numbers(64, 5)}
    inputs = [("x", FLOAT, ["n", "t", 6]), ("s", INT32, ["n"]), ("total", INT32, [])]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["qkv"]),
        helper.make_node(
            "GroupQueryAttention", ["qkv", "", "", "", "", "s", "total"], ["a", "nk", "nv"], domain=MS, name="attend",
            num_heads=4, kv_num_heads=4,
        ),
        helper.make_node("MatMul", ["a", "wo"], ["y"]),
    ]  # fmt: skip
    feeds = {"x": numbers(2, 3, 6), "s": np.full(2, 2, np.int32), "total": np.array(3, np.int32)}
    sharding = check(model(nodes, weights, inputs, 5), feeds, 2)
    told = "GroupQueryAttention: its queries, keys and values are packed into one tensor"
    assert sharding.kept_whole["attend"] == told


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
