"""How far the rows of two columns are apart, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]


def row_differences(a: pa.Array, b: pa.Array) -> Array:
    """The greatest difference of the values of each row.

    Args:
        a: [rows] numbers, texts, tensors or lists of them.
        b: the same of as many rows.

    Returns:
        float64 [rows]: of floats by how much, infinity where one is NaN and the other not, or shapes differ; of all
        else 0 where they are the same and infinity where not.

    >>> row_differences(pa.array([[1.0, 2.0], [3.0, float("nan")]]), pa.array([[1.0, 2.5], [3.0, float("nan")]]))
    array([0.5, 0. ])
    """
    values, rows, levels = _flat(a)
    others, _, other_levels = _flat(b)
    if len(levels) != len(other_levels):
        return np.full(len(a), np.inf)
    if not all(np.array_equal(one, other) for one, other in zip(levels, other_levels, strict=True)):
        if len(a) == 1:
            return np.full(1, np.inf)
        # Shapes that differ are rare: these rows are looked at one by one.
        return np.concatenate([row_differences(a.slice(row, 1), b.slice(row, 1)) for row in range(len(a))])
    return _greatest(_differences(values, others), rows, len(a))


def rows_with_nan(column: pa.Array) -> Array:
    """bool [rows]: whether a row has a value that is NaN."""
    values, rows, _ = _flat(column)
    if values.dtype.kind != "f":
        return np.zeros(len(column), bool)
    return _greatest(np.isnan(values), rows, len(column))


def greatest_size(column: pa.Array) -> float:
    """The largest magnitude of a column's floats, NaN and infinities aside; 0 where there is none."""
    values, _, _ = _flat(column)
    if values.dtype.kind != "f":
        return 0.0
    finite = values[np.isfinite(values)]
    return float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0


def _differences(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return np.where(a == b, 0.0, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    apart[np.isnan(apart)] = np.inf
    return apart


def _greatest(values: Array, rows: Array, count: int) -> Array:
    """The greatest of the values of each row, of none 0."""
    if count and len(values) and len(values) % count == 0:
        each = len(values) // count
        if np.array_equal(rows, np.repeat(np.arange(count), each)):
            return np.asarray(values.reshape(count, each).max(axis=1))
    most = np.zeros(count, values.dtype)
    np.maximum.at(most, rows, values)
    return most


def _flat(column: pa.Array) -> tuple[Array, Array, list[Array]]:
    """(values, the row of each, lengths of the lists of each level)."""
    rows, levels = np.arange(len(column)), []
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while pa.types.is_nested(column.type):
        import pyarrow.compute as pc

        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
        rows = np.repeat(rows, lengths)
        levels.append(lengths)
        column = column.flatten()
    plain = pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    values = column.to_numpy(zero_copy_only=False) if plain else np.asarray(column.to_pylist(), dtype=object)
    return values, rows, levels
