"""Rows in whose place others are put, to see whether the rows beside them change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"

KINDS = {
    "other": "another row",
    "huge": "huge",
    "low": "far below 0",
    "nan": "NaN",
    "inf": "infinite",
    "zero": "0",
    "turned": "reversed",
    "least": "of the least and largest values",
    "small": "a little different",
}
"""What a row is replaced by, and that in words."""

FAR, TIMES = 1000, 4
"""How far whole numbers go, or how many times as far as the sample's: lengths of sequences make tensors as long."""

LONG = "".join(f"a{mark}b" for mark in " ,;:|/\\-_.\t") * 9
"""A text that has many parts, whatever parts them."""


def replace_rows(
    feeds: Mapping[str, Array], axes: Mapping[str, int | None], replaced: Array, kind: str
) -> dict[str, Array] | None:
    """The feeds with some rows replaced; None where that changes nothing."""
    made, differs = dict(feeds), False
    for name, axis in axes.items():
        if axis is None:
            continue
        values = np.moveaxis(np.array(feeds[name]), axis, 0)
        before = values[replaced].copy()
        after = _replaced(values, replaced, kind)
        if after is None:
            continue
        values[replaced] = after
        differs = differs or not same_bits(before, values[replaced])
        made[name] = np.ascontiguousarray(np.moveaxis(values, 0, axis))
    return made if differs else None


def _replaced(values: Array, replaced: Array, kind: str) -> Array | None:
    own: Array = values[replaced]
    if kind == "other":
        return np.asarray(values[(replaced + 1) % len(values)])
    if kind == "turned":
        flat = own.reshape(len(own), -1)
        return np.ascontiguousarray(flat[:, ::-1]).reshape(own.shape)
    if kind == "least" and values.dtype.kind in "iufb":
        made = np.empty_like(own)
        made[0::2], made[1::2] = values.min(axis=0), values.max(axis=0)
        return made
    if values.dtype.kind == "f":
        return _floats(own, kind)
    # Not every number or text need be valid here: where the model refuses one, that says nothing.
    if values.dtype.kind in "iu":
        return _whole(values, own, kind)
    if kind in ("huge", "zero"):
        text = LONG if kind == "huge" else ""
        return np.full_like(own, kind == "huge" if values.dtype.kind == "b" else text)
    return None


def _floats(own: Array, kind: str) -> Array | None:
    most = np.finfo(own.dtype).max / 4
    with np.errstate(over="ignore", invalid="ignore"):
        fixed = {"huge": most, "low": -most, "nan": np.nan, "inf": np.inf, "zero": 0.0}
        if kind in fixed:
            return np.full_like(own, fixed[kind])
        if kind == "small":
            return np.asarray(own * own.dtype.type(1.25) + own.dtype.type(0.5), own.dtype)
    return None


def _whole(values: Array, own: Array, kind: str) -> Array | None:
    kept = np.iinfo(values.dtype)
    # As Python's numbers: the least of int64 has no absolute value in it.
    far = max(FAR, TIMES * max(abs(int(values.max())), abs(int(values.min())))) if values.size else FAR
    if kind in ("huge", "low", "zero"):
        return np.full_like(own, {"huge": min(far, kept.max), "low": max(-far, kept.min), "zero": 0}[kind])
    if kind == "small":
        return np.where(own < kept.max, own + 1, own).astype(own.dtype)
    return None


def bases(feeds: Mapping[str, Array], axes: Mapping[str, int | None]) -> Iterator[dict[str, Array]]:
    """The feeds, and the same with ordinary numbers that are made up, of which the rows are unlike.

    Rows of NaN, or of zeros that all else is multiplied with, show nothing of the rows beside them. What is made up
    need not be right for the model.
    """
    yield dict(feeds)
    drawn = np.random.default_rng(0)
    made = dict(feeds)
    for name, axis in axes.items():
        if axis is not None and feeds[name].dtype.kind == "f":
            made[name] = np.asarray(drawn.standard_normal(feeds[name].shape), feeds[name].dtype)
    if any(made[name] is not feeds[name] for name in feeds):
        yield made
    counted = dict(made)
    for name, axis in axes.items():
        values = feeds[name]
        if axis is not None and values.dtype.kind in "iub" and values.size and (values == values.flat[0]).all():
            each = np.arange(values.shape[axis]).reshape([-1 if at == axis else 1 for at in range(values.ndim)])
            moved = values ^ (each % 2 > 0) if values.dtype.kind == "b" else np.add(values, each.astype(values.dtype))
            counted[name] = np.asarray(moved)
    if any(counted[name] is not made[name] for name in feeds):
        yield counted


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays are alike in every number; any NaN is like any other."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind == "f":
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(np.array_equal(a, b))
