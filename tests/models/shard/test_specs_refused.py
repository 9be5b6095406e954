"""ShardingSpecs that cannot be right, or cannot be followed, are refused; all others run right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.annotation import WrongSpecError, annotation_of, read_annotation
from beamsplit.models.shard.planner import divide
from tests import onnx_models
from tests.models.shard.annotated import FLOAT, configured, followed, mlp, rows_of, say
from tests.models.shard.numbers import numbers


def first_spec(proto: onnx.ModelProto) -> onnx.ShardingSpecProto:
    return proto.graph.node[0].device_configurations[0].sharding_spec[0]


def too_few_devices(proto: onnx.ModelProto) -> None:
    del first_spec(proto).device[1:]


def no_devices(proto: onnx.ModelProto) -> None:
    del first_spec(proto).device[:]


def missing_device(proto: onnx.ModelProto) -> None:
    first_spec(proto).device[1] = 5


def same_device(proto: onnx.ModelProto) -> None:
    first_spec(proto).device[1] = 0


def wrong_axis(proto: onnx.ModelProto) -> None:
    first_spec(proto).sharded_dim[0].axis = 2


def wrong_size(proto: onnx.ModelProto) -> None:
    first_spec(proto).sharded_dim[0].simple_sharding[0].dim_value = 10


def too_many(proto: onnx.ModelProto) -> None:
    spec = first_spec(proto)
    spec.sharded_dim[0].simple_sharding[0].num_shards = 20
    proto.configuration[0].num_devices = 20
    del spec.device[:]
    spec.device.extend(range(20))


def no_shards(proto: onnx.ModelProto) -> None:
    first_spec(proto).sharded_dim[0].simple_sharding.add().num_shards = 0


def two_axes(proto: onnx.ModelProto) -> None:
    dim = first_spec(proto).sharded_dim.add()
    dim.axis = 0
    dim.simple_sharding.add().num_shards = 2


def twice(proto: onnx.ModelProto) -> None:
    first_spec(proto).sharded_dim.add().CopyFrom(first_spec(proto).sharded_dim[0])


def merged(proto: onnx.ModelProto) -> None:
    dim = first_spec(proto).sharded_dim[0]
    del dim.simple_sharding[:]
    for size, shards in ((3, 1), (4, 2)):
        part = dim.simple_sharding.add()
        part.dim_value, part.num_shards = size, shards


def other_tensor(proto: onnx.ModelProto) -> None:
    first_spec(proto).tensor_name = "w1"


def undeclared(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].device_configurations[0].configuration_id = "ours"


def names(proto: onnx.ModelProto) -> None:
    proto.configuration[0].device.append("one")


def far_too_many(proto: onnx.ModelProto) -> None:
    proto.configuration[0].num_devices = 2**31 - 1


def unlike(proto: onnx.ModelProto) -> None:
    proto.configuration[0].num_devices = 3
    say(proto, "h1", {"w1": 0}, shards=3)


def elsewhere(proto: onnx.ModelProto) -> None:
    proto.configuration[0].num_devices = 4
    say(proto, "h1", {"w1": 0}, devices=[2, 3])


def unlike_stages(proto: onnx.ModelProto) -> None:
    proto.configuration[0].num_devices = 5
    say(proto, "h1", {"w1": 0}, shards=3, devices=[2, 3, 4], stage=1)


def rows(proto: onnx.ModelProto) -> None:
    say(proto, "r1", {"h1": 0})


def contradiction(proto: onnx.ModelProto) -> None:
    say(proto, "h1", {"w1": 1, "r0": 1})


def other_output(proto: onnx.ModelProto) -> None:
    say(proto, "h1", {"w1": 0, "h1": 1})


WRONG = {
    too_few_devices: "node fc0 divides w0 into 2 shards and names 1 devices",
    no_devices: "node fc0 divides w0 into 2 shards and names 0 devices",
    missing_device: "node fc0 has w0 on device 5, and there are 2 (from 0)",
    same_device: "node fc0 puts two shards of w0 on one device",
    wrong_axis: r"node fc0 divides axis 2 of w0, which has 2 axes ([8, 12])",
    wrong_size: "node fc0 says axis 1 of w0 is 10 long, and it is 12",
    too_many: "node fc0 divides axis 1 of w0, 12 long, into 20 shards",
    no_shards: "node fc0 divides axis 1 of w0 into 0 shards",
    two_axes: "node fc0 divides w0 along 2 axes, and one is what runs here",
    twice: "node fc0 divides axis 1 of w0 twice",
    merged: "node fc0 divides axis 1 of w0, into which another was merged, and only data is divided so here",
    other_tensor: "node fc0 has a spec for 'w1', which is none of its inputs and outputs",
    undeclared: "node fc0 names the configuration 'ours', and the model has 'mesh'",
    names: "configuration 'mesh' has 2 devices and the names of 1 (one)",
    far_too_many: "configuration 'mesh' has 2147483647 devices, and 1 to 65,536 can be",
    unlike: "node fc1 has w1 over the devices [0, 1, 2], and node fc0 works on [0, 1]",
    elsewhere: "node fc1 has w1 over the devices [2, 3], and node fc0 works on [0, 1]",
    unlike_stages: "configuration 'mesh' divides into unlike numbers of shards: 2 at node fc0 and 3 at node fc1",
    rows: "node act1 divides axis 0 of h1, whose size is not the same for all data; rows are dealt by --workers",
    contradiction: "node fc1 asks for axis 1 of w1, which with its other inputs is divided along axis 0",
    other_output: "node fc1 asks for axis 1 of its output h1, which comes out as terms of a sum",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda one: one.__name__)
def test_what_cannot_be_is_refused(spoil: Callable[[onnx.ModelProto], None], tmp_path: Path):
    proto = mlp()
    for node, name in zip(proto.graph.node, ["fc0", "act0", "fc1", "act1", "fc2"], strict=True):
        node.name = name
    say(proto, "h0", {"w0": 1}, stage=0 if spoil is unlike_stages else None)
    spoil(proto)
    with pytest.raises(UsageError) as refused:
        followed(proto, rows_of(8), tmp_path, 3)
    assert WRONG[spoil] in str(refused.value)
    assert "annotate the model again, or type --shards 1 to run it whole" in str(refused.value)
    assert "\n" not in str(refused.value) and not (tmp_path / "shards").exists()


def test_an_operator_that_is_not_divided_is_named(tmp_path: Path):
    proto = onnx_models.rnn()
    configured(proto)
    node = next(one for one in proto.graph.node if one.op_type == "GRU")
    node.name = "gru"
    say(proto, node.output[0], {node.input[1]: 1})
    path = onnx_models.save(proto, tmp_path / "rnn.onnx")
    annotation = read_annotation(ModelFile(path))
    assert annotation is not None
    feeds = {"x": numbers(4, 7, 3), "state": numbers(2, 7, 5)}
    with pytest.raises(UsageError, match=r"node gru, GRU with axis 1 of .* over 2 shards, cannot run so here"):
        divide(ModelFile(path), feeds, 2, str(tmp_path / "no"), annotation=annotation)


@pytest.mark.parametrize("where", ["function", "body"])
def test_specs_inside_functions_and_bodies_are_refused(where: str):
    proto = mlp()
    say(proto, "h0", {"w0": 1})
    inner = onnx.NodeProto()
    inner.CopyFrom(proto.graph.node[0])
    inner.name = "deep"
    del proto.graph.node[0].device_configurations[:]
    if where == "function":
        opset = [helper.make_opsetid("", 17)]
        proto.functions.append(helper.make_function("own", "layer", ["x", "w0", "b0"], ["h0"], [inner], opset))
    else:
        body = helper.make_graph([inner], "then", [], [helper.make_tensor_value_info("h0", FLOAT, None)])
        proto.graph.node.append(helper.make_node("If", ["c"], ["z"], name="if", then_branch=body, else_branch=body))
    place = "function layer" if where == "function" else "the body of node if"
    with pytest.raises(WrongSpecError, match=f"node deep is divided, but inside {place}, where nothing is divided"):
        annotation_of(proto)


SMALL = st.integers(-1, 4)


@st.composite
def specs(draw: st.DrawFn, tensors: list[str]) -> onnx.ShardingSpecProto:
    """What a tool may write: an axis of a tensor over two devices, or all of it on both; now and then it is wrong."""
    odd = draw(st.sampled_from([*["no"] * 12, "tensor", "devices", "axis", "shards", "size", "twice", "merged"]))
    spec = onnx.ShardingSpecProto(tensor_name="w9" if odd == "tensor" else draw(st.sampled_from(tensors)))
    if not draw(st.integers(0, 5)):
        spec.device.append(-1)
        spec.index_to_device_group_map.add(key=-1, value=[0, 1])
        return spec
    spec.device.extend(draw(st.lists(SMALL, max_size=3)) if odd == "devices" else [0, 1])
    axis = draw(st.integers(-3, 3)) if odd == "axis" else draw(st.sampled_from([1, 1, -1, 0]))
    for _ in range(2 if odd == "twice" else 1):
        dim = spec.sharded_dim.add(axis=axis)
        if odd == "merged":
            dim.simple_sharding.add(num_shards=1, dim_value=2)
        part = dim.simple_sharding.add(num_shards=draw(SMALL) if odd == "shards" else 2)
        if odd == "size":
            part.dim_value = draw(st.sampled_from([12, 8, 6, 1]))
    return spec


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_specs_run_right_or_are_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    proto = onnx_models.mlp(8, 12, 6)
    configured(proto)
    staged = not data.draw(st.integers(0, 3))
    for number, node in enumerate(proto.graph.node):
        chosen = data.draw(st.lists(st.sampled_from([*node.input, *node.output]), max_size=2, unique=True))
        one = node.device_configurations.add(configuration_id="mesh")
        one.sharding_spec.extend(data.draw(specs([tensor])) for tensor in chosen)
        if staged and data.draw(st.booleans()):
            one.pipeline_stage = data.draw(st.sampled_from([number, number, number // 2, 1]))
    try:
        if annotation_of(proto) is not None:
            followed(proto, rows_of(8), tmp_path_factory.mktemp("any"), 3, 2)
    except (WrongSpecError, UsageError) as error:
        assert "\n" not in str(error)
        assert "not give what the whole model gives" not in str(error)
