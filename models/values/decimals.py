"""Columns of decimals as numbers: the nearest there is, and which have more digits than a number holds."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]

_EXACT_POWER = 22
"""10**22 is the greatest power of ten that is a float64."""

_MANY_DIGITS = Context(prec=400)

_DIGITS = {"float16": 3, "float32": 6, "float64": 15}
"""Decimal digits that every float of the type gives back."""


def decimals_as(column: pa.Array, dtype: str) -> tuple[Array, Array]:
    """(values of `dtype`, positions of those from which the decimal does not come back).

    A decimal comes back from a float if it is the nearest of its scale to it (123.45 from float32, 1234567.89 not), and
    from an integer if it has no fraction. Nulls are 0. Each float64 is the nearest to its decimal (Arrow's own cast is
    off in the last place of every seventh).

    >>> from decimal import Decimal
    >>> values, bad = decimals_as(pa.array([Decimal("1.10"), Decimal("1234567.89")]), "float32")
    >>> bool(values[0] == np.float32(1.1)), bad.tolist()
    (True, [1])
    """
    scale = column.type.scale
    unscaled, small = _unscaled(column)
    if np.dtype(dtype).kind != "f":
        return _whole(column, unscaled, small, dtype)
    wide = np.zeros(len(column), dtype=np.float64)
    quick = small & (np.abs(unscaled) <= 2**53) if 0 <= scale <= _EXACT_POWER else np.zeros(len(column), dtype=bool)
    wide[quick] = unscaled[quick] / 10.0 ** max(scale, 0)
    slow = np.flatnonzero(~quick & ~_nulls(column))
    known: dict[int, Decimal] = {at: column[at].as_py() for at in slow.tolist()}
    for at, value in known.items():
        wide[at] = float(value)
    with np.errstate(over="ignore"):
        values = wide.astype(dtype)
    unsure = quick & (np.abs(unscaled) >= 10 ** _DIGITS[dtype])
    bad: list[int] = []
    if unsure.any():
        back = np.rint(values[unsure].astype(np.float64) * 10.0**scale)
        bad = np.flatnonzero(unsure)[back != unscaled[unsure]].tolist()
    bad += [at for at, value in known.items() if not _comes_back(values[at].item(), value)]
    return values, np.array(sorted(bad), dtype=np.int64)


def _nulls(column: pa.Array) -> Array:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)


def _comes_back(number: float, value: Decimal) -> bool:
    return bool(np.isfinite(number)) and Decimal(number).quantize(value, context=_MANY_DIGITS) == value


def _unscaled(column: pa.Array) -> tuple[Array, Array]:
    """(the decimals' digits as int64, 0 where they are more; where they fit)."""
    nulls = _nulls(column)
    if not pa.types.is_decimal128(column.type):
        try:
            column = column.cast(pa.decimal128(38, column.type.scale))
        except pa.ArrowInvalid:
            return np.zeros(len(column), dtype=np.int64), nulls
    data = column.buffers()[1]
    if data is None or not len(column):
        return np.zeros(len(column), dtype=np.int64), np.ones(len(column), dtype=bool)
    halves = np.frombuffer(data, dtype="<i8", count=2 * len(column), offset=16 * column.offset).reshape(-1, 2)
    low, high = halves[:, 0], halves[:, 1]
    # The least int64 has no absolute value.
    fits = ((high == low >> 63) & (low != np.iinfo(np.int64).min)) | nulls
    return np.where(fits & ~nulls, low, 0), fits


def _whole(column: pa.Array, unscaled: Array, small: Array, dtype: str) -> tuple[Array, Array]:
    scale = column.type.scale
    if 0 <= scale <= 18:
        values, rest = np.divmod(unscaled, 10**scale)
        bad = (rest != 0) | ~small
    else:
        values, bad = np.zeros(len(column), dtype=np.int64), ~_nulls(column)
    info = np.iinfo(dtype)
    bad |= (values < max(int(info.min), -(2**63))) | (values > min(int(info.max), 2**63 - 1))
    return values.astype(dtype), np.flatnonzero(bad)
