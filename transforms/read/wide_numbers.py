"""Numbers of text that a float column does not hold: whole ones that it rounds, and those that become infinity."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa

EXACT = float(2**53)
"""Up to here every whole number is a float64."""

_WHOLE = re.compile(r"\s*([-+]?\d+)(?:\.0*)?\s*")


def unheld(column: pa.Array, texts: Callable[[], pa.Array]) -> dict[int, str]:
    """Rows of a column of floats, or of lists of them, whose number is another than in the text; with the reason.

    Fractions are rounded, as everywhere; whole numbers are not, but for columns of float32 and float16, which are read
    so because the model takes them.

    Args:
        column: as it was read.
        texts: gives the same rows as text (strings); called only where a number is suspicious.
    """
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = _in_lists(column)
        return {row: "too large a number" for row in rows if not _says_infinity(texts()[row].as_py())} if rows else {}
    if not pa.types.is_floating(kind):
        return {}
    values = column.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        odd = np.abs(values) >= EXACT if pa.types.is_float64(kind) else np.isinf(values)
    if not odd.any():
        return {}
    written = texts()
    found = {}
    for row in np.flatnonzero(odd).tolist():
        reason = _reason(written[row].as_py(), float(values[row]), kind)
        if reason is not None:
            found[row] = reason
    return found


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


def _in_lists(column: pa.Array) -> list[int]:
    from transforms.json_numbers import without_number

    odd = without_number(column)
    return [] if odd is None else np.flatnonzero(odd).tolist()
