"""Rows made from a model's input types, for a model that comes without a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from beamsplit.models.free_memory import check_room
from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.values.tensors import Array, numpy_dtype

_SIZES = {"height": 224, "width": 224, "channels": 3, "seq": 32, "len": 32, "time": 32}
"""Sizes of symbolic dimensions by a part of their name."""

_OTHER = 16
"""Size of any other dimension that the model leaves open."""

_IMAGE = (None, 3, 224, 224)
"""What open dimensions of a tensor of rank 4 are taken to be, rows first."""

_PASS = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"})
"""Operators behind which integers are still the same."""

_MOST_PASSED = 8


def make_feeds(
    signature: Signature,
    rows: int,
    seed: int = 0,
    *,
    id_limits: Mapping[str, int] | None = None,
    rows_axes: Mapping[str, int | None] | None = None,
) -> dict[str, Array]:
    """Plausible inputs: the same arguments give the same arrays.

    Floating-point numbers are normally distributed, integers 0 or 1 unless `id_limits` says more, masks ones, strings
    short words. An open dimension has one size wherever its symbol stands; the first dimension of an input, where it
    is open, is the rows.

    Args:
        signature: of the model.
        rows: at least 1; inputs whose first dimension is fixed keep it.
        seed: of the random numbers.
        id_limits: for an integer input, the number of ids that it may hold (`find_id_limits`).
        rows_axes: where known, the axis that carries the rows of each input; None where it has none.

    Raises:
        UsageError: there is no memory for so many.
    """
    rng = np.random.default_rng(seed)
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        axis = _rows_axis(spec, rows_axes)
        if spec.shape and axis is not None and isinstance(spec.shape[axis], str):
            sizes[str(spec.shape[axis])] = rows
    feeds = {}
    for spec in signature.inputs:
        axis = _rows_axis(spec, rows_axes)
        dims: tuple[Dim, ...] = (None,) if spec.shape is None else spec.shape
        shape = [_size(dim, i, len(dims), rows if i == axis else None, sizes) for i, dim in enumerate(dims)]
        check_room(
            8 * math.prod(shape), f"{rows:,} rows made up for the model's input '{spec}'", "give fewer or a sample"
        )
        feeds[spec.name] = _values(spec, tuple(shape), rng, (id_limits or {}).get(spec.name))
    return feeds


def _rows_axis(spec: TensorSpec, rows_axes: Mapping[str, int | None] | None) -> int | None:
    if rows_axes is not None and spec.name in rows_axes:
        return rows_axes[spec.name]
    return None if spec.shape == () else 0


def _size(dim: Dim, axis: int, rank: int, rows: int | None, sizes: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    if rows is not None:
        return rows
    if dim is not None and dim in sizes:
        return sizes[dim]
    named = next((size for part, size in _SIZES.items() if dim is not None and part in dim.lower()), None)
    if named is not None:
        return named
    return _IMAGE[axis] or _OTHER if rank == 4 else _OTHER


def _values(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator, limit: int | None) -> Array:
    if spec.dtype == "string":
        words = np.array(["beam", "split", "row", "stage"], dtype=object)
        return np.asarray(words[rng.integers(len(words), size=shape)], dtype=object).reshape(shape)
    dtype = np.dtype(np.float32) if spec.dtype == "bfloat16" else numpy_dtype(spec.dtype)
    if "mask" in spec.name.lower():
        return np.ones(shape, dtype)
    if dtype.kind == "b":
        return rng.integers(2, size=shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(max(limit or 2, 1), size=shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def find_id_limits(model: ir.Model) -> dict[str, int]:
    """For each integer input that picks rows of a weight (Gather), how many ids there are.

    Followed through casts and reshapes; where several weights are picked from, the smallest counts.
    """
    limits: dict[str, int] = {}
    for value in model.graph.inputs:
        if value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
            continue
        found = []
        ahead = [value]
        for _ in range(_MOST_PASSED):
            users = [(node, at, one) for one in ahead for node, at in one.uses()]
            found += [_gathered(node) for node, at, _ in users if node.op_type == "Gather" and at == 1]
            ahead = [node.outputs[0] for node, at, _ in users if node.op_type in _PASS and at == 0]
        known = [limit for limit in found if limit is not None]
        if known:
            limits[str(value.name)] = min(known)
    return limits


def _gathered(node: ir.Node) -> int | None:
    table = node.inputs[0]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    shape = None if table is None else table.shape
    size = None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]
    return size if isinstance(size, int) else None
