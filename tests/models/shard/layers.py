"""Models of com.microsoft's operators for tests of shards: x [n, t, width] -> y [n, t, back]."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from tests.models.shard.numbers import numbers
from tests.onnx_models import build

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
