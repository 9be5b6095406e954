"""Quantised layers by output channels at sizes that Hypothesis makes, against the whole model: bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.onnx_models import build
from tests.shard.sharding import check
from tests.shard.test_linear import numbers

FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
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
