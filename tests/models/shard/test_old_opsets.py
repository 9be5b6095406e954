"""Operators whose inputs were attributes in older opsets are followed over shards as the newer ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.split.chain import check_same

CPU = SessionOptions(threads=1)


def save(body: str, opset: int, folder: Path, out: str = "float[n, m] y", **more: np.ndarray) -> ModelFile:
    """A model of x[n, 16] with a layer `h = Relu(x @ w)` before what is given, and `v` for one behind it."""
    head = f'<ir_version: 4, opset_import: ["": {opset}]> g (float[n, 16] x) => ({out})'
    # ONNX Runtime has no Relu of before opset 6.
    text = f"{head} {{ a = MatMul(x, w) h = {'Relu' if opset > 5 else 'Identity'}(a) {body} }}"
    model = parser.parse_model(text)
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((16, 16), np.float32), "v": rng.standard_normal((8, 16), np.float32), **more}
    bodies = [one.g for node in model.graph.node for one in node.attribute if one.HasField("g")]
    read = {name for graph in (model.graph, *bodies) for node in graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in weights.items() if name in read)
    path = folder / "old.onnx"
    onnx.save(model, path)
    return ModelFile(str(path))


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (9, "c = Slice<starts=[0], ends=[8], axes=[1]>(h) d = Slice<starts=[8], ends=[16], axes=[1]>(h) y = Add(c, d)"),
        (9, "y = Slice<starts=[0], ends=[2]>(h)"),
        (9, "y = Slice<starts=[0, 4], ends=[9, -1]>(h)"),
        (9, "c = Unsqueeze<axes=[1]>(h) d = Slice<starts=[0], ends=[1], axes=[1]>(c) y = Squeeze<axes=[1]>(d)"),
        (9, "c = Unsqueeze<axes=[0]>(h) y = Squeeze<axes=[0]>(c)"),
        (9, "y = ReduceSum<axes=[1]>(h)"),
        (9, "c = Unsqueeze<axes=[1]>(h) y = ReduceMean<axes=[1], keepdims=0>(c)"),
        (9, "c, d = Split<axis=1, split=[8, 8]>(h) y = Mul(c, d)"),
        (9, "c, d = Split<axis=1>(h) y = Sub(c, d)"),
        (9, "c, d = Split<axis=1, split=[4, 12]>(h) y = Concat<axis=1>(d, c)"),
        (9, "y = Pad<pads=[0, 1, 0, 2]>(h)"),
        (9, "y = Clip<min=0.5, max=1.0>(h)"),
        (9, "y, i = TopK<k=3, axis=1>(h)"),
        (9, "c = Unsqueeze<axes=[1, 2]>(h) d = Upsample<mode=\"nearest\">(c, scales) y = Flatten(d)"),
        (9, "c = Dropout<ratio=0.5>(h) y = Softmax<axis=1>(c)"),
        (4, "c = Reshape<shape=[-1, 2, 8]>(h) y = Reshape<shape=[-1, 16]>(c)"),
        (10, "c = Slice(h, zero, eight, one) y = MatMul(c, v)"),
        (12, "u = Unsqueeze<axes=[1]>(h) c = Squeeze<axes=[1]>(u) y = Add(c, h)"),
        (13, "c = Slice(h, zero, eight, one) y = MatMul(c, v)"),
        (13, "y = ReduceSum(h, one)"),
        (9, "u = Unsqueeze<axes=[0]>(b) c = Mul(h, u) y = MatMul(c, k)"),
        (13, "u = Unsqueeze(b, zero) c = Mul(h, u) y = MatMul(c, k)"),
        (13, "u = Unsqueeze(b, minus) c = Mul(h, u) y = MatMul(c, k)"),
        (13, "u = Unsqueeze(b, both) c = Unsqueeze(h, zero) d = Mul(c, u) y = Squeeze(d, zero)"),
        (13, "t = Transpose(v) y = MatMul(h, t)"),
        (13, "t = Transpose<perm=[1, 0]>(v) y = MatMul(h, t)"),
        (13, "u = Unsqueeze(k, one) q = Squeeze(u, one) y = MatMul(h, q)"),
        (13, "y = If(on) <then_branch = t () => (float[n, m] p) { d = Mul(h, b) p = MatMul(d, k) },"
             " else_branch = e () => (float[n, m] q) { q = MatMul(h, k) }>"),
    ],
)  # fmt: skip
def test_same_numbers(opset: int, body: str, tmp_path: Path):
    vector = {"zero": [0], "eight": [8], "one": [1]}
    more = {name: np.array(values) for name, values in vector.items()}
    rng = np.random.default_rng(2)
    more |= {"minus": np.array([-2]), "both": np.array([0, 1]), "on": np.array(True)}
    more |= {"b": rng.standard_normal(16, np.float32), "k": rng.standard_normal((16, 8), np.float32)}
    more["scales"] = np.array([1, 1, 1, 2], np.float32)
    model = save(body, opset, tmp_path, **more)
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 16), np.float32)}
    whole = Session(model, CPU)
    plan = divide(model, feeds, 2, str(tmp_path / "shards"), 1)
    sharded = ShardedSession(ShardedModel(plan, str(tmp_path / "shards"), (CPU,) * 2, CPU, whole.signature))
    check_same(whole, sharded, feeds, 1e-5, of="the shards do", fix="")
    sharded.drop()
    assert plan.layers


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_a_table_is_looked_up_by_what_the_opset_has(opset: int, tmp_path: Path):
    head = f'<ir_version: 4, opset_import: ["": {opset}]> g (int64[n, m] i) => (float[n, m, 4] y)'
    model = parser.parse_model(head + " { a = Gather(t, i) y = Relu(a) }")
    table = np.random.default_rng(0).standard_normal((10, 4), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(table, "t"))
    onnx.save(model, tmp_path / "table.onnx")
    file = ModelFile(str(tmp_path / "table.onnx"))
    feeds = {"i": np.array([[0, 9, -1], [4, 5, -10]])}
    whole = Session(file, CPU)
    plan = divide(file, feeds, 2, str(tmp_path / "shards"), 1)
    sharded = ShardedSession(ShardedModel(plan, str(tmp_path / "shards"), (CPU,) * 2, CPU, whole.signature))
    assert np.array_equal(sharded.run(feeds)[0], whole.run(feeds)[0])
    with pytest.raises(ModelRunError, match="out of data bounds"):
        sharded.run({"i": np.array([[10]])})
    sharded.drop()


def test_sums_of_before_opset_7(tmp_path: Path):
    model = parser.parse_model(
        '<ir_version: 4, opset_import: ["": 6]> g (float[n, 8] x) => (float[n, 8] y)'
        "{ a = MatMul(x, w) y = MatMul(a, w) }"
    )
    weight = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "sum.onnx")
    file, feeds = ModelFile(str(tmp_path / "sum.onnx")), {"x": np.ones((3, 8), np.float32)}
    plan = divide(file, feeds, 2, str(tmp_path / "shards"), 1)
    whole = Session(file, CPU)
    sharded = ShardedSession(ShardedModel(plan, str(tmp_path / "shards"), (CPU,) * 2, CPU, whole.signature))
    check_same(whole, sharded, feeds, 1e-5, of="the shards do", fix="")
    sharded.drop()
