"""Which numbers a type holds as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MANTISSA = {"float16": 11, "float32": 24, "float64": 53}


def inexact(values: Array, dtype: str) -> Array:
    """Positions, counted in row-major order, of the numbers that `dtype` does not hold as they are.

    Whole numbers are checked against floats too, also where they are floats (2**24 + 1 is no float32). A fraction that
    loses digits in a narrower float is not looked for.

    >>> inexact(np.array([1, 2**24 + 1]), "float32").tolist()
    [1]
    """
    none = np.empty(0, dtype=np.int64)
    target = np.dtype(dtype)
    kind = values.dtype.kind
    if values.size == 0 or values.dtype == target or kind == "b":
        return none
    if target.kind == "f":
        return _beyond(values, target) if kind in "iu" else _rounded(values, target)
    if target.kind not in "iub" or np.can_cast(values.dtype, target, "safe"):
        return none
    if target.kind == "b":
        return np.flatnonzero((values != 0) & (values != 1))
    low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
    if kind == "f":
        wide = values.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(~((wide >= float(low)) & (wide < float(high + 1)) & (np.trunc(wide) == wide)))
    if low <= int(values.min()) and int(values.max()) <= high:
        return none
    source = np.iinfo(values.dtype)
    low, high = max(low, int(source.min)), min(high, int(source.max))
    return np.flatnonzero((values < low) | (values > high))


def overflows(values: Array, dtype: str) -> Array:
    """Positions, counted in row-major order, of the finite numbers that are infinite as the float `dtype`.

    >>> overflows(np.array([1.5, 1e300, np.inf]), "float32").tolist()
    [1]
    """
    none = np.empty(0, dtype=np.int64)
    target = np.dtype(dtype)
    wider = values.dtype.itemsize > target.itemsize if values.dtype.kind == "f" else target == np.float16
    if target.kind != "f" or values.size == 0 or values.dtype.kind not in "fiu" or not wider:
        return none
    most = float(np.finfo(target).max)
    with np.errstate(invalid="ignore", over="ignore"):
        # NaN makes both comparisons false, so it is looked at in full.
        if values.min() >= -most and values.max() <= most:
            return none
        some = values.reshape(-1)
        return np.flatnonzero(np.isinf(some.astype(target)) & np.isfinite(some))


def _beyond(values: Array, target: np.dtype[Any]) -> Array:
    """Whole numbers between those that a float holds."""
    bits = _MANTISSA[target.name]
    if np.iinfo(values.dtype).bits - (values.dtype.kind == "i") <= bits:
        return np.empty(0, dtype=np.int64)
    most = 2**bits
    if -most <= int(values.min()) and int(values.max()) <= most:
        return np.empty(0, dtype=np.int64)
    with np.errstate(over="ignore"):
        rounded = values.astype(target).astype(np.float64)
    range_of = np.iinfo(values.dtype)
    inside = (rounded >= float(range_of.min)) & (rounded < float(int(range_of.max) + 1))
    back = np.where(inside, rounded, 0).astype(values.dtype)
    return np.flatnonzero(~inside | (back != values))


def _rounded(values: Array, target: np.dtype[Any]) -> Array:
    """Floats without a fraction that a narrower float does not hold, and those that become infinite."""
    if values.dtype.itemsize <= target.itemsize:
        return np.empty(0, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(values)
        large = np.flatnonzero((size > 2.0 ** _MANTISSA[target.name]) & np.isfinite(size))
        if not large.size:
            return large
        some = values.reshape(-1)[large]
        rounded = some.astype(target)
        # Beyond 2**53 every float64 is whole, and most are measures (6.02e23).
        whole = (np.abs(some) <= 2.0**53) & (np.trunc(some) == some) & (rounded != some)
        wrong: Array = large[whole | np.isinf(rounded)]
        return wrong
