"""Products of quantised weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

MS = "com.microsoft"


def product(
    name: str,
    data: str,
    inner: int,
    columns: int,
    *,
    bits: int = 4,
    block: int = 16,
    zero: str = "",
    bias: bool = False,
    groups: bool = False,
    flat: bool = False,
    **attributes: int,
) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    """A MatMulNBits with random weights: data [..., inner] -> name [..., columns].

    Args:
        name: of the node and its result.
        data: name of its input.
        inner: length of the input's last axis.
        columns: of the result.
        bits: of a number.
        block: how many numbers have one scale.
        zero: "" for the middle, "packed" as bits, or "float".
        bias: whether one is added.
        groups: whether each row is told its block.
        flat: whether scales and zero points are vectors.
        **attributes: more of the node's.
    """
    rng = np.random.default_rng([bits, block, inner, columns])
    blocks, packed = -(-inner // block), -(-inner // block * bits // 8)
    weights = {
        f"{name}_w": rng.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8),
        f"{name}_s": ((rng.random((columns, blocks)) + 0.1) / 2**bits).astype(np.float32),
    }
    if zero == "packed":
        weights[f"{name}_z"] = rng.integers(0, 256, (columns, packed)).astype(np.uint8)
    elif zero:
        weights[f"{name}_z"] = (rng.random((columns, blocks)) * 2**bits).astype(np.float32)
    if flat:
        weights = {key: value if key.endswith("_w") else value.reshape(-1) for key, value in weights.items()}
    if groups:
        weights[f"{name}_g"] = np.sort(rng.integers(0, blocks, inner)).astype(np.int32)
    if bias:
        weights[f"{name}_b"] = rng.standard_normal(columns).astype(np.float32)
    names = [data, *(f"{name}_{one}" if f"{name}_{one}" in weights else "" for one in "wszgb")]
    node = helper.make_node(
        "MatMulNBits",
        names,
        [name],
        domain=MS,
        name=name,
        K=inner,
        N=columns,
        bits=bits,
        block_size=block,
        **attributes,
    )
    return node, weights
