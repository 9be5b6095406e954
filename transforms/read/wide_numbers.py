"""Numbers of text that a float column does not hold: whole ones that it rounds, and those that become infinity."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.columns import lists_with

EXACT = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
"""Up to here every whole number is a float of so many bits."""

_FLOATS: dict[int, type[np.floating]] = {16: np.float16, 32: np.float32, 64: np.float64}

_TYPES = {"float16": pa.float16(), "float32": pa.float32()}

Fed = str | dict[str, Any] | None
"""A float, or of a struct those of fields by name, which may be structs."""

_WHOLE = re.compile(r"\s*([-+]?\d+)(?:\.0*)?\s*")


def unheld(
    column: pa.Array,
    texts: Callable[[], pa.Array],
    kind: pa.DataType | None = None,
    narrow: bool = True,
    fed: Fed = None,
) -> dict[int, str]:
    """Rows of a column with a floating-point number that is another than in the text; with the reason.

    Fractions are rounded, as everywhere; whole numbers are not.

    Args:
        column: as it was read, of floats, or of lists or structs that hold some.
        texts: gives the same rows as text (strings); called only where a number is suspicious.
        kind: what the column will be, if not what it was read as.
        narrow: whether float32 and float16 round whole numbers too: files are read as those only where that is wanted.
        fed: the narrower float that the numbers of a float64 column become later, if they may not be rounded to it. The
            model's inputs look at those below 2**53 themselves; above, only the text tells whole numbers from measures.
            Of a struct, those of its fields.
    """
    kind = column.type if kind is None else kind
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind):
        odd = _suspicious(column, kind, narrow)
        if odd is None:
            return {}
        written = texts()
        reasons = {row: unheld_within(kind, written[row].as_py(), narrow, fed) for row in np.flatnonzero(odd).tolist()}
        return {row: why for row, why in reasons.items() if why is not None}
    if not pa.types.is_floating(kind):
        return {}
    odd = _suspicious(column, kind, narrow)
    if odd is None:
        return {}
    values = _as_kind(column, kind)
    written = texts()
    found = {}
    for row in np.flatnonzero(odd).tolist():
        reason = _reason(written[row].as_py(), float(values[row]), kind, narrow, fed)
        if reason is not None:
            found[row] = reason
    return found


def _suspicious(column: pa.Array, kind: pa.DataType, narrow: bool) -> np.ndarray | None:
    """Which rows hold infinity, or a float so large that it may stand for several whole numbers; None: none does."""
    if pa.types.is_floating(kind) and pa.types.is_floating(column.type):
        values = _as_kind(column, kind)
        with np.errstate(invalid="ignore"):
            exact = pa.types.is_float64(kind) or not narrow
            odd = np.abs(values) >= EXACT[kind.bit_width] if exact else np.isinf(values)
        return odd if odd.any() else None
    if pa.types.is_struct(kind) and pa.types.is_struct(column.type):
        fields = [kind.field(at).type for at in range(kind.num_fields)]
        parts = [_suspicious(*one, narrow) for one in zip(column.flatten(), fields, strict=True)]
        found = [odd for odd in parts if odd is not None]
        return np.logical_or.reduce(found) if found else None
    if not (_is_list(kind) and _is_list(column.type)):
        return None
    inner = _suspicious(column.flatten(), kind.value_type, narrow)
    return None if inner is None else lists_with(column, inner)


def _as_kind(column: pa.Array, kind: pa.DataType) -> np.ndarray:
    with np.errstate(over="ignore"):
        values: np.ndarray = column.to_numpy(zero_copy_only=False).astype(_FLOATS[kind.bit_width], copy=False)
    return values


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


class _Number(str):
    """A number as JSON has it."""


def unheld_within(kind: pa.DataType, text: str | None, narrow: bool = True, fed: Fed = None) -> str | None:
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
    return _unheld_value(kind, value, narrow, fed)


def _unheld_value(kind: pa.DataType, value: Any, narrow: bool, fed: Fed) -> str | None:
    if isinstance(value, _Number) and pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            return _reason(value, float(_FLOATS[kind.bit_width](float(value))), kind, narrow, fed)
    if isinstance(value, list) and pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        inner = ((kind.value_type, one, narrow, fed) for one in value)
    elif isinstance(value, dict) and pa.types.is_struct(kind):
        below = fed if isinstance(fed, dict) else dict.fromkeys((field.name for field in kind), fed)
        inner = ((field.type, value.get(field.name), narrow, below.get(field.name)) for field in kind)
    else:
        return None
    return next(filter(None, (_unheld_value(*one) for one in inner)), None)


def _reason(text: str | None, value: float, kind: pa.DataType, narrow: bool, fed: Fed = None) -> str | None:
    if text is None:
        return None
    if np.isinf(value):
        return None if _says_infinity(text) else f"{_short(text)} is too large for {kind}"
    whole = _WHOLE.fullmatch(text)
    # Python limits the digits of numbers that it reads; the largest float64 has 309.
    if whole and len(whole[1]) < 400 and int(whole[1]) != int(value):
        if not pa.types.is_float64(kind):
            return None if narrow else f"{_short(text)} is a whole number that no {kind} holds; --narrow rounds it"
        return f"{_short(text)} is a whole number that no {kind} holds, it would be {int(value)}"
    if whole and isinstance(fed, str) and pa.types.is_float64(kind):
        with np.errstate(over="ignore"):
            return _reason(text, float(np.dtype(fed).type(value)), _TYPES[fed], False)
    return None


def _says_infinity(text: str | None) -> bool:
    return text is None or "inf" in text.lower()


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} digits)"
