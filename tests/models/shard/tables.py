"""Models that look rows up in tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models.shard.numbers import numbers
from tests.onnx_models import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def table(rows: int, width: int, ids: int = INT64) -> onnx.ModelProto:
    node = helper.make_node("Gather", ["t", "i"], ["y"])
    return build([node], [("i", ids, ["n", "t"])], [("y", FLOAT, ["n", "t", width])], {"t": numbers(rows, width)})


X = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
NUMBER = X[:, 0] * 2 + np.sin(X[:, 1])
THREE = (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0)


def quantised(kind: str, channels: int, per_channel: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    w = rng.integers(-9, 9, (6, channels)).astype(np.int8)
    scales = (rng.random(channels if per_channel else 1) + 0.1).astype(np.float32)
    zeros = np.zeros(len(scales), np.int8)
    weights: dict[str, Any] = {"w": w, "s": scales, "z": zeros, "xs": np.float32(0.05), "xz": np.uint8(128)}
    if kind == "MatMulInteger":
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
            helper.make_node("MatMulInteger", ["q", "w", "qz", "z"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["qs", "s"], ["both"]),
            helper.make_node("Mul", ["f", "both"], ["y"]),
        ]
    elif kind == "QLinearMatMul":
        weights |= {"ys": np.float32(0.5), "yz": np.uint8(100)}
        if not per_channel:
            weights |= {"s": scales[0], "z": zeros[0]}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("QLinearMatMul", ["q", "xs", "xz", "w", "s", "z", "ys", "yz"], ["i"]),
            helper.make_node("DequantizeLinear", ["i", "ys", "yz"], ["y"]),
        ]
    else:  # Q and DQ about a MatMul.
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["f"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=1),
            helper.make_node("MatMul", ["f", "wf"], ["y"]),
        ]
        if not per_channel:
            weights |= {"s": scales[0], "z": zeros[0]}
    used = {name for node in nodes for name in node.input}
    given = {name: value for name, value in weights.items() if name in used}
    return build(nodes, [("x", FLOAT, ["n", 6])], [("y", FLOAT, ["n", channels])], given)
