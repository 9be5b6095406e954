"""Tensors of types that numpy lacks, as ONNX Runtime holds them.

| ONNX | as numpy here | |
|---|---|---|
| bfloat16 | float32 | rounded to the nearest, ties to even, on the way in; exact on the way out |
| int4, uint4 | int8, uint8 | two elements a byte inside, the first in the low bits |
| float8... | uint8 | the bits as they are |
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, Any]

_NUMBERS = {
    "bfloat16": 16,
    "float8e4m3fn": 17,
    "float8e4m3fnuz": 18,
    "float8e5m2": 19,
    "float8e5m2fnuz": 20,
    "uint4": 21,
    "int4": 22,
}
"""TensorProto's numbers of the types that numpy lacks."""

ODD_TYPES = frozenset(_NUMBERS)
"""Element types, as in `TensorSpec.dtype`, that `to_ort_value` and `to_numpy` are needed for."""


def to_ort_value(values: Array, dtype: str | None = None) -> ort.OrtValue:
    """`values` as ONNX Runtime takes them; `dtype` is one of `ODD_TYPES`, or None for numpy's own type."""
    values = np.ascontiguousarray(values)
    if dtype is None:
        return ort.OrtValue.ortvalue_from_numpy(values)
    if dtype == "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bfloat16_bits(values), _NUMBERS[dtype])
    if dtype in ("int4", "uint4"):
        return _pack_nibbles(values, _NUMBERS[dtype])
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(values.view(np.uint8), _NUMBERS[dtype])


def to_numpy(value: ort.OrtValue) -> Array:
    """What ONNX Runtime gave, as numpy."""
    dtype = value.data_type()[len("tensor(") : -1]
    if dtype not in ODD_TYPES:
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    count = int(np.prod(shape))
    if dtype == "bfloat16":
        return from_bfloat16_bits(_raw(value, 2 * count).view(np.uint16)).reshape(shape)
    if dtype.startswith("float8"):
        return _raw(value, count).reshape(shape)
    signed = dtype == "int4"
    data = _raw(value, (count + 1) // 2)
    pairs = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[:count]
    if signed:
        return ((pairs ^ 8).astype(np.int8) - 8).reshape(shape)
    return pairs.reshape(shape)


def bfloat16_bits(values: Array) -> Array:
    """uint16 of the shape of `values`: their bfloat16 bits, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    rounded[np.isnan(values)] = 0x7FC0
    return rounded


def from_bfloat16_bits(bits: Array) -> Array:
    """The float32 numbers of bfloat16 bits, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _raw(value: ort.OrtValue, size: int) -> Array:
    """A copy of the first `size` bytes of a tensor on the CPU."""
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size) if size else b"", np.uint8)


def _pack_nibbles(values: Array, number: int) -> ort.OrtValue:
    flat = values.reshape(-1).view(np.uint8) & 15
    if len(flat) % 2:
        flat = np.append(flat, np.uint8(0))
    packed = np.ascontiguousarray(flat[0::2] | (flat[1::2] << 4))
    made = ort.OrtValue.ortvalue_from_shape_and_type(list(values.shape), number, "cpu")
    ctypes.memmove(made.data_ptr(), packed.ctypes.data, packed.nbytes)
    return made
