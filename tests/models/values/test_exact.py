"""Which numbers a type holds: against Python's own whole numbers and fractions, one by one."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from beamsplit.models.values.exact import inexact, overflows

WHOLE = [0, 1, 2, 127, 128, 255, 256, 2047, 2048, 2049, 32767, 32768, 65504, 65519, 65520, 65535, 65536]
WHOLE += [2**n + d for n in (24, 31, 32, 53, 63, 64) for d in (-1, 0, 1)]
NUMBERS = sorted({*WHOLE, *(-one for one in WHOLE)})
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def values_of(dtype: str) -> np.ndarray:
    if dtype in INTEGERS:
        held = np.iinfo(dtype)
        return np.array([one for one in NUMBERS if held.min <= one <= held.max], dtype)
    with np.errstate(over="ignore"):
        numbers = np.unique(np.array([float(one) for one in NUMBERS]).astype(dtype))
    return np.concatenate(
        [numbers[np.isfinite(numbers)], np.array([0.5, -1.5, 0.1, math.nan, math.inf, -math.inf], dtype)]
    )


def fails(value: object, source: str, target: str) -> bool:
    """Whether the type does not hold it, by exact arithmetic."""
    if target in INTEGERS or target == "bool":
        if not math.isfinite(value):
            return True
        low, high = (0, 1) if target == "bool" else (np.iinfo(target).min, np.iinfo(target).max)
        return Fraction(value).denominator != 1 or not low <= Fraction(value) <= high
    with np.errstate(over="ignore"):
        there = float(np.array(value, source).astype(target))
    if source in INTEGERS:
        return not math.isfinite(there) or Fraction(there) != value
    if not math.isfinite(value) or np.dtype(source).itemsize <= np.dtype(target).itemsize:
        return False
    if math.isinf(there):
        return True
    # Fractions, and measures, may lose digits.
    return Fraction(value).denominator == 1 and abs(value) <= 2**53 and Fraction(there) != Fraction(value)


@pytest.mark.parametrize("target", [*INTEGERS, *FLOATS, "bool"])
@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS])
def test_numbers_that_a_type_does_not_hold(source: str, target: str):
    values = values_of(source)
    expected = [at for at, one in enumerate(values.tolist()) if source != target and fails(one, source, target)]
    assert inexact(values, target).tolist() == expected
    assert inexact(values[:0], target).tolist() == []
    for at in range(len(values)):  # each alone: what looks at the least and the greatest first
        assert inexact(values[at : at + 1], target).tolist() == [0] * (at in expected)


@pytest.mark.parametrize("target", [*FLOATS, "int8"])
@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS])
def test_numbers_that_become_infinite(source: str, target: str):
    values = values_of(source)
    with np.errstate(over="ignore"):
        made = values.astype(target) if target in FLOATS else np.zeros(len(values))
    expected = np.flatnonzero(np.isinf(made) & np.isfinite(values)).tolist()
    assert overflows(values, target).tolist() == expected
    finite = values[np.isfinite(values)]
    for at in range(len(finite)):
        with np.errstate(over="ignore"):
            infinite = target in FLOATS and bool(np.isinf(finite[at : at + 1].astype(target))[0])
        assert overflows(finite[at : at + 1], target).tolist() == [0] * infinite
