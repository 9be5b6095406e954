"""Quantised layers at sizes that Hypothesis makes, against the whole model: by output channels bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from tests.models.shard.annotated import configured, followed, rows_of, said, say
from tests.models.shard.numbers import numbers
from tests.models.shard.sharding import check
from tests.onnx_models import build
from tests.runtime_version import needs_new_runtime

FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
MS = "com.microsoft"
SHARDS = st.integers(2, 4)
CHANNELS = st.integers(1, 9)


def scales(channels: int, per_channel: bool, dtype: type = np.int8) -> tuple[Any, Any]:
    """(scale, zero point) of a weight: one a channel, or one for all."""
    rng = np.random.default_rng(channels)
    if not per_channel:
        return np.float32(0.07), dtype(3)
    return (rng.random(channels) + 0.1).astype(np.float32), rng.integers(0, 5, channels).astype(dtype)


def integers(*shape: int, dtype: type = np.int8) -> np.ndarray:
    return np.random.default_rng([7, *shape]).integers(0 if dtype == np.uint8 else -9, 9, shape).astype(dtype)


def matrix(kind: str, inner: int, channels: int, per_channel: bool) -> onnx.ModelProto:
    """x: [n, inner] -> y: [n, channels]; the scale of each channel is multiplied in behind, or in the layer."""
    scale, zero = scales(channels, per_channel)
    weights: dict[str, Any] = {"w": integers(inner, channels), "s": scale, "z": zero}
    weights |= {"xs": np.float32(0.05), "xz": np.uint8(128), "ys": np.float32(0.5), "yz": np.uint8(100)}
    if kind == "MatMulInteger":
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
            helper.make_node("MatMulInteger", ["q", "w", "qz", "z"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["qs", "s"], ["both"]),
            helper.make_node("Mul", ["f", "both"], ["y"]),
        ]
    elif kind == "QLinearMatMul":
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("QLinearMatMul", ["q", "xs", "xz", "w", "s", "z", "ys", "yz"], ["i"]),
            helper.make_node("DequantizeLinear", ["i", "ys", "yz"], ["y"]),
        ]
    else:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["f"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=1),
            helper.make_node("MatMul", ["f", "wf"], ["y"]),
        ]
    used = {name for node in nodes for name in node.input}
    given = {name: value for name, value in weights.items() if name in used}
    return build(nodes, [("x", FLOAT, ["n", inner])], [("y", FLOAT, ["n", channels])], given)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["MatMulInteger", "QLinearMatMul", "QDQ"]),
    inner=st.integers(1, 7),
    channels=CHANNELS,
    per_channel=st.booleans(),
    shards=SHARDS,
)
def test_matrices(kind: str, inner: int, channels: int, per_channel: bool, shards: int):
    proto = matrix(kind, inner, channels, per_channel)
    sharding = check(proto, {"x": numbers(4, inner)}, shards, {"x": numbers(1, inner, seed=3)})
    assert (sharding.sharded_bytes > 0) == (channels >= shards)


def fused(kind: str, inner: int, channels: int, per_channel: bool, bias: bool, turned: bool, zero: bool) -> Any:
    """x: [n, inner] -> y: [n, channels] by one operator of com.microsoft, as ONNX Runtime's quantiser leaves them."""
    scale, zero_point = scales(channels, per_channel)
    weight = integers(inner, channels)
    weights: dict[str, Any] = {"w": weight, "s": scale, "z": zero_point, "b": numbers(channels)}
    weights |= {"xs": np.float32(0.05), "xz": np.uint8(128), "ys": np.float32(0.5), "yz": np.uint8(100)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"])]
    z, b = "z" if zero else "", "b" if bias else ""
    if kind == "DynamicQuantizeMatMul":
        nodes = [helper.make_node(kind, ["x", "w", "s", z, b], ["y"], domain=MS, name="layer")]
    elif kind == "MatMulIntegerToFloat":
        nodes.append(helper.make_node(kind, ["q", "w", "xs", "s", "xz", z, b], ["y"], domain=MS, name="layer"))
    else:
        weights |= {"w": np.ascontiguousarray(weight.T) if turned else weight}
        weights["b"] = integers(channels).astype(np.int32) * 5
        end = ["ys", "yz"] if kind == "QGemm, rounded" else []
        result = "i" if end else "y"
        names = ["q", "xs", "xz", "w", "s", "z", b, *end]
        nodes.append(helper.make_node("QGemm", names, [result], domain=MS, name="layer", transB=int(turned), alpha=0.5))
        nodes += [helper.make_node("DequantizeLinear", ["i", "ys", "yz"], ["y"])] if end else []
    used = {name for node in nodes for name in node.input}
    given = {name: value for name, value in weights.items() if name in used}
    return build(
        nodes, [("x", FLOAT, ["n", inner])], [("y", FLOAT, ["n", channels])], given, extra_opsets={MS: 1}
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QGemm, rounded"]),
    inner=st.integers(1, 7),
    channels=CHANNELS,
    per_channel=st.booleans(),
    bias=st.booleans(),
    turned=st.booleans(),
    zero=st.booleans(),
    shards=SHARDS,
)
def test_products_of_one_operator(
    kind: str, inner: int, channels: int, per_channel: bool, bias: bool, turned: bool, zero: bool, shards: int
):
    proto = fused(kind, inner, channels, per_channel, bias, turned, zero)
    sharding = check(proto, {"x": numbers(4, inner)}, shards, {"x": numbers(1, inner, seed=3)}, tolerance=0.0)
    assert (sharding.sharded_bytes > 0) == (channels >= shards)


def pair(second: str, hidden: int, bias: bool, columns: int = 3) -> onnx.ModelProto:
    """x [n, 5] -> MatMul -> Relu -> a quantised product by rows, if that can be."""
    proto = fused(second, hidden, columns, True, bias, False, True)
    first = [helper.make_node("MatMul", ["x", "first"], ["h"]), helper.make_node("Relu", ["h"], ["a"])]
    rest = list(proto.graph.node)
    rest[0].input[0] = "a"
    del proto.graph.node[:]
    proto.graph.node.extend([*first, *rest])
    proto.graph.initializer.append(onnx.numpy_helper.from_array(numbers(5, hidden), "first"))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    return proto


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(["MatMulIntegerToFloat", "QGemm"]),
    hidden=st.integers(2, 9),
    bias=st.booleans(),
    shards=SHARDS,
)
def test_a_pair_needs_one_sum_where_the_scale_of_the_data_is_given(kind: str, hidden: int, bias: bool, shards: int):
    sharding = check(pair(kind, hidden, bias), {"x": numbers(4, 5)}, shards, {"x": numbers(1, 5, seed=3)})
    if hidden >= shards:
        assert list(sharding.joined) == ["y"]


def test_what_is_scaled_by_all_of_its_data_does_not_go_by_rows():
    """A slice has another least and greatest number: it would be rounded otherwise than the whole."""
    proto = pair("DynamicQuantizeMatMul", 8, True)
    sharding = check(proto, {"x": numbers(4, 5)}, 2, {"x": numbers(1, 5, seed=3)}, tolerance=0.0)
    assert list(sharding.joined) == ["a", "y"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("DynamicQuantizeMatMul", "DynamicQuantizeMatMul: its data is scaled by the least and greatest number of all"),
        ("QGemm, rounded", "QGemm: its result is rounded, which is of the whole sum"),
    ],
)
def test_why_it_does_not_go_by_rows_is_told(kind: str, told: str):
    """With one column, by which it cannot be divided either."""
    sharding = check(pair(kind, 8, True, columns=1), {"x": numbers(4, 5)}, 2, tolerance=0.02)
    assert sharding.kept_whole["layer"] == told


@pytest.mark.parametrize("kind", ["MatMulIntegerToFloat", "QGemm", "DynamicQuantizeMatMul"])
@pytest.mark.parametrize("axis", [0, 1])
def test_as_another_tool_annotates_it(kind: str, axis: int, tmp_path: Path):
    """The weight alone: by its rows the data before it is sliced, if it can be."""
    proto = fused(kind, 6, 4, True, True, False, True)
    configured(proto)
    say(proto, "y", {"w": axis})
    if kind == "DynamicQuantizeMatMul" and not axis:
        with pytest.raises(
            UsageError, match="asks for axis 0 of w, which with its other inputs is divided along axis 1"
        ):
            followed(proto, rows_of(6), tmp_path, 4)
        return
    assert said(followed(proto, rows_of(6), tmp_path, 4, 1)) == [("w", axis, "slices" if axis else "terms")]


def convolution(kind: str, inputs: int, channels: int, per_channel: bool, bias: bool) -> onnx.ModelProto:
    """x: [n, inputs, 5, 4] -> y: [n, channels, 5, 4]."""
    dtype = np.uint8 if kind == "ConvInteger" else np.int8
    # ONNX Runtime's ConvInteger takes one zero point of the weight.
    scale, zero = scales(channels, per_channel and kind != "ConvInteger", dtype)
    weights: dict[str, Any] = {"w": integers(channels, inputs, 3, 3, dtype=dtype), "s": scale, "z": zero}
    weights |= {"xs": np.float32(0.05), "xz": np.uint8(128), "ys": np.float32(0.5), "yz": np.uint8(100)}
    weights |= {"b": integers(channels).astype(np.int32), "fb": numbers(channels)}
    if kind == "ConvInteger":
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("ConvInteger", ["q", "w", "xz", "z"], ["i"], pads=[1, 1, 1, 1]),
            helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
        ]
    elif kind == "QLinearConv":
        names = ["q", "xs", "xz", "w", "s", "z", "ys", "yz", *(["b"] if bias else [])]
        weights["z"] = np.zeros_like(zero)  # ONNX Runtime wants weights that are symmetric about 0.
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("QLinearConv", names, ["i"], pads=[1, 1, 1, 1]),
            helper.make_node("DequantizeLinear", ["i", "ys", "yz"], ["y"]),
        ]
    else:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["f"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=0),
            helper.make_node("Conv", ["f", "wf", *(["fb"] if bias else [])], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["cq"]),
            helper.make_node("DequantizeLinear", ["cq", "ys", "yz"], ["y"]),
        ]
    used = {name for node in nodes for name in node.input}
    given = {name: value for name, value in weights.items() if name in used}
    return build(nodes, [("x", FLOAT, ["n", inputs, 5, 4])], [("y", FLOAT, ["n", channels, 5, 4])], given)


@needs_new_runtime
@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["ConvInteger", "QLinearConv", "QDQ"]),
    inputs=st.integers(1, 4),
    channels=CHANNELS,
    per_channel=st.booleans(),
    bias=st.booleans(),
    shards=SHARDS,
)
def test_convolutions(kind: str, inputs: int, channels: int, per_channel: bool, bias: bool, shards: int):
    proto = convolution(kind, inputs, channels, per_channel, bias)
    # A float sum in another order may round to the next of 255 steps.
    tolerance = 0.02 if kind == "QDQ" else 0.0
    feeds = {"x": numbers(3, inputs, 5, 4)}
    sharding = check(proto, feeds, shards, {"x": numbers(1, inputs, 5, 4, seed=3)}, tolerance=tolerance)
    assert (sharding.sharded_bytes > 0) == (channels >= shards)
