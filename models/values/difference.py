"""How far what a model gave once is from what it gave another time, and whether that is its arithmetic alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RTOL = 1e-3
ATOL = 1e-4
"""How far a row scored with others may be from the row alone: sums in another order, not another meaning."""

HALF_TOLERANCE = 1e-2
"""The same for float16, relative and absolute: it has three digits."""

QUANTISED_TOLERANCE = 0.1
"""The same for models that quantise at run, as a share of the output's spread (see `check_axes`)."""


def difference_of(together: Array, alone: Array) -> tuple[float, bool]:
    """Largest absolute difference (inf where shapes or texts differ), and whether it is within tolerance."""
    if together.shape != alone.shape:
        return math.inf, False
    if together.size == 0 or np.array_equal(together, alone):
        return 0.0, True
    if together.dtype.kind not in "fiub":
        return math.inf, False
    a, b = together.astype(np.float64), alone.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0, True
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(a - b))
    difference = float(np.where(np.isnan(gaps), np.inf, gaps).max())
    if together.dtype.kind != "f":
        return difference, False
    half = together.dtype == np.float16
    rtol, atol = (HALF_TOLERANCE, HALF_TOLERANCE) if half else (RTOL, ATOL)
    return difference, bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
