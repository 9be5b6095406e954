"""Numbers of text that a float column does not hold: whole ones that it rounds, and those that become infinity."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

EXACT = float(2**53)
"""Up to here every whole number is a float64."""

_FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}

_WHOLE = re.compile(r"\s*([-+]?\d+)(?:\.0*)?\s*")


def unheld(column: pa.Array, texts: Callable[[], pa.Array]) -> dict[int, str]:
    """Rows of a column with a floating-point number that is another than in the text; with the reason.

    Fractions are rounded, as everywhere; whole numbers are not, but for columns of float32 and float16, which are read
    so because the model takes them.

    Args:
        column: as it was read, of floats, or of lists or structs that hold some.
        texts: gives the same rows as text (strings); called only where a number is suspicious.
    """
    kind = column.type
    if pa.types.is_nested(kind):
        odd = _suspicious(column)
        if odd is None:
            return {}
        written = texts()
        reasons = {row: unheld_within(kind, written[row].as_py()) for row in np.flatnonzero(odd).tolist()}
        return {row: why for row, why in reasons.items() if why is not None}
    if not pa.types.is_floating(kind):
        return {}
    odd = _suspicious(column)
    if odd is None:
        return {}
    values = column.to_numpy(zero_copy_only=False)
    written = texts()
    found = {}
    for row in np.flatnonzero(odd).tolist():
        reason = _reason(written[row].as_py(), float(values[row]), kind)
        if reason is not None:
            found[row] = reason
    return found


def _suspicious(column: pa.Array) -> np.ndarray | None:
    """Which rows hold infinity, or a float64 so large that it may stand for several whole numbers; None: none does."""
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore"):
            odd = np.abs(values) >= EXACT if pa.types.is_float64(kind) else np.isinf(values)
        return odd if odd.any() else None
    if pa.types.is_struct(kind):
        found = [odd for odd in map(_suspicious, column.flatten()) if odd is not None]
        return np.logical_or.reduce(found) if found else None
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return None
    inner = _suspicious(column.flatten())
    if inner is None:
        return None
    import pyarrow.compute as pc

    owners = np.repeat(np.arange(len(column)), np.asarray(pc.list_value_length(column).fill_null(0)))
    odd = np.zeros(len(column), dtype=bool)
    odd[owners[inner]] = True
    return odd


class _Number(str):
    """A number as JSON has it."""


def unheld_within(kind: pa.DataType, text: str | None) -> str | None:
    """Why a number of a JSON text is another in a value of a type (lists and structs of floats too), or None.

    >>> unheld_within(pa.list_(pa.float64()), "[1.5, 9007199254740993]")
    '9007199254740993 is a whole number that no double holds, it would be 9007199254740992'
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except RecursionError:
        return "nested too deep"
    return _unheld_value(kind, value)


def _unheld_value(kind: pa.DataType, value: Any) -> str | None:
    if isinstance(value, _Number) and pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            return _reason(value, float(_FLOATS[kind.bit_width](float(value))), kind)
    if isinstance(value, list) and pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        inner = ((kind.value_type, one) for one in value)
    elif isinstance(value, dict) and pa.types.is_struct(kind):
        inner = ((field.type, value.get(field.name)) for field in kind)
    else:
        return None
    return next(filter(None, (_unheld_value(*one) for one in inner)), None)


def _reason(text: str | None, value: float, kind: pa.DataType) -> str | None:
    if text is None:
        return None
    if np.isinf(value):
        return None if _says_infinity(text) else f"{_short(text)} is too large for {kind}"
    whole = _WHOLE.fullmatch(text)
    # Python limits the digits of numbers that it reads; the largest float64 has 309.
    if whole and len(whole[1]) < 400 and int(whole[1]) != int(value):
        return f"{_short(text)} is a whole number that no {kind} holds, it would be {int(value)}"
    return None


def _says_infinity(text: str | None) -> bool:
    return text is None or "inf" in text.lower()


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} digits)"
