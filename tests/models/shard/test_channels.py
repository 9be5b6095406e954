"""Convolutions by output and input channels, groups and what stands between, against the whole model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

from tests.models.shard.numbers import numbers
from tests.models.shard.sharding import check, sharded
from tests.onnx_models import build

FLOAT = TensorProto.FLOAT
BETWEEN = ["Relu", "BatchNormalization", "InstanceNormalization", "MaxPool", "GlobalAveragePool", "PRelu", "none"]


def between(kind: str, channels: int) -> tuple[list[NodeProto], dict[str, np.ndarray], str]:
    """Nodes from h, their weights, and the name of the result."""
    if kind == "none":
        return [], {}, "h"
    names = {
        "BatchNormalization": ["s", "b", "m", "v"],
        "InstanceNormalization": ["s", "b"],
        "PRelu": ["slope"],
    }.get(kind, [])
    weights = {name: np.abs(numbers(channels, seed=7)) + 0.5 for name in names}
    if kind == "PRelu":
        weights = {"slope": numbers(channels, 1, 1)}
    more = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
    return [helper.make_node(kind, ["h", *names], ["a"], **more)], weights, "a"


@settings(deadline=None, max_examples=40)
@given(
    inputs=st.integers(1, 5),
    hidden=st.integers(2, 9),
    outputs=st.integers(1, 5),
    shards=st.integers(2, 4),
    kind=st.sampled_from(BETWEEN),
    bias=st.booleans(),
)
def test_output_channels_then_input_channels(
    inputs: int, hidden: int, outputs: int, shards: int, kind: str, bias: bool
):
    nodes, weights, value = between(kind, hidden)
    weights |= {"w": numbers(hidden, inputs, 3, 3), "u": numbers(outputs, hidden, 1, 1)}
    weights |= {"wb": numbers(hidden), "ub": numbers(outputs)} if bias else {}
    first = helper.make_node("Conv", ["x", "w", *(["wb"] if bias else [])], ["h"], pads=[1, 1, 1, 1])
    last = helper.make_node("Conv", [value, "u", *(["ub"] if bias else [])], ["y"])
    size = "h" if kind != "GlobalAveragePool" else 1
    proto = build(
        [first, *nodes, last],
        [("x", FLOAT, ["n", inputs, 6, 5])],
        [("y", FLOAT, ["n", outputs, None if size == "h" else 1, None if size == "h" else 1])],
        weights,
    )
    sharding = check(proto, {"x": numbers(3, inputs, 6, 5)}, shards, {"x": numbers(1, inputs, 6, 5)})
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=30)
@given(groups=st.integers(2, 6), wide=st.integers(1, 3), out=st.integers(1, 3), shards=st.integers(2, 4))
def test_groups_stay_together(groups: int, wide: int, out: int, shards: int):
    channels = groups * wide
    weights = {"w": numbers(channels, 2, 1, 1), "g": numbers(groups * out, wide, 3, 3), "gb": numbers(groups * out)}
    weights["u"] = numbers(3, groups * out, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("Conv", ["h", "g", "gb"], ["k"], group=groups, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["k", "u"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", 2, 5, 4])], [("y", FLOAT, ["n", 3, 5, 4])], weights)
    sharding = check(proto, {"x": numbers(3, 2, 5, 4)}, shards)
    if groups >= shards:
        assert list(sharding.joined) == ["y"]


@settings(deadline=None, max_examples=20)
@given(
    groups=st.integers(2, 6),
    wide=st.integers(1, 3),
    out=st.integers(1, 3),
    shards=st.integers(2, 4),
    bias=st.booleans(),
)
def test_groups_of_whole_data(groups: int, wide: int, out: int, shards: int, bias: bool):
    """Each shard takes its groups' channels out of the input; the layer behind sums over them."""
    weights = {"g": numbers(groups * out, wide, 3, 3), "u": numbers(3, groups * out, 1, 1)}
    weights |= {"gb": numbers(groups * out)} if bias else {}
    nodes = [
        helper.make_node("Conv", ["x", "g", *(["gb"] if bias else [])], ["h"], group=groups, strides=[2, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "u"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", groups * wide, 7, 4])], [("y", FLOAT, ["n", 3, None, None])], weights)
    sharding = check(proto, {"x": numbers(3, groups * wide, 7, 4)}, shards, {"x": numbers(1, groups * wide, 7, 4)})
    if groups >= shards:
        assert list(sharding.joined) == ["y"]


def test_flattened_channels_feed_a_row_layer():
    weights = {"w": numbers(6, 2, 3, 3), "f": numbers(6 * 5 * 4, 3), "b": numbers(3)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "f", "b"], ["y"]),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", 2, 5, 4])], [("y", FLOAT, ["n", 3])], weights)
    assert list(check(proto, {"x": numbers(3, 2, 5, 4)}, 3, {"x": numbers(1, 2, 5, 4)}).joined) == ["y"]


def test_a_layer_with_fewer_channels_than_shards_stays_whole_and_is_named():
    proto = build(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="narrow")],
        [("x", FLOAT, ["n", 2, 5, 4])],
        [("y", FLOAT, ["n", 2, 5, 4])],
        {"w": numbers(2, 2, 1, 1)},
    )
    sharding, stages = sharded(proto, {"x": numbers(3, 2, 5, 4)}, 3)
    assert sharding.kept_whole == {"narrow": "Conv has no place to be divided into 3"}
    assert [stage.sharded for stage in stages] == [False]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_split_that_meets_its_own_whole_is_joined(axis: int):
    """y = relu(x w) concatenated with x: the split must be joined before it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Concat", ["r", "x"], ["y"], axis=axis),
    ]
    proto = build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, [None, None])], {"w": numbers(6, 6)})
    assert list(check(proto, {"x": numbers(3, 6)}, 2).joined) == ["r"]
