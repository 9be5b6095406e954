"""Floats as text: as Arrow casts them to strings, the shortest that read back the same, by orjson in less time.

Both write the same digits. They differ in whole numbers (`1.0` and `1`), which is mended, and in when an exponent is
written: there, and where orjson is not installed, Arrow writes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST = 1e10
"""From here on Arrow writes an exponent, which orjson does not yet."""

NO_EXPONENT = (9e-7, 1e-5)
"""Between these Arrow writes a double without an exponent, orjson with one."""

LEAST = 64
"""Fewer numbers are not worth it."""


def float_text(column: pa.Array) -> pa.Array:
    """Each number as text, strings; a null stays one, and NaN and infinity are as Arrow has them.

    Args:
        column: float32 or float64.
    """
    if len(column) < LEAST or not _has_orjson():
        return column.cast(pa.string())
    values = np.ascontiguousarray((column.fill_null(0) if column.null_count else column).to_numpy(zero_copy_only=False))
    same = _written_alike(values)
    values = values if same.all() else np.where(same, values, 0)
    text = _dumped(values)[1:-1] + b","
    if _any_whole(values):
        text = text.replace(b".0,", b",")  # fractions end with another digit than 0
    commas = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))
    offsets = np.zeros(len(values) + 1, np.int32)
    offsets[1:] = commas - np.arange(len(values))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text.translate(None, b","))]
    texts = pa.Array.from_buffers(pa.string(), len(values), buffers)
    if not same.all():
        other = pa.array(~same)
        texts = pc.replace_with_mask(texts, other, column.filter(other).cast(pa.string()))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string())) if column.null_count else texts


def list_text(values: np.ndarray) -> pa.Array | None:
    """Each row of a table as a list, `[1.5,2]`, strings; None where that is not sure, or not worth it.

    Args:
        values: [rows, numbers], float32 or float64.
    """
    if values.size < LEAST or not _has_orjson() or not _written_alike(values).all():
        return None
    text = _dumped(values)[1:-1]
    if _any_whole(values):
        text = text.replace(b".0,", b",").replace(b".0]", b"]")
    text = text.replace(b"],[", b"][")
    starts = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("["))
    offsets = np.append(starts, len(text)).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def _written_alike(values: np.ndarray) -> np.ndarray:
    size = np.abs(values)
    found: np.ndarray = size < MOST
    if values.dtype == np.float64:
        found &= (size < NO_EXPONENT[0]) | (size >= NO_EXPONENT[1])
    return found


def _any_whole(values: np.ndarray) -> bool:
    return bool((values == np.trunc(values)).any())


def _dumped(values: np.ndarray) -> bytes:
    import orjson

    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)


@lru_cache(maxsize=1)
def _has_orjson() -> bool:
    try:
        import orjson  # noqa: F401
    except ImportError:
        return False
    return True
