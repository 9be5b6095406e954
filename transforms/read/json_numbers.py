"""Numbers of lines of JSON that are alike, as doubles, made the columns of a schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read.json_layout import Layout

EXACT = 2.0**53
"""From here on a double may stand for several whole numbers."""

_TINY = float(np.finfo(np.float32).tiny)


class Numbers(NamedTuple):
    """What lines hold."""

    values: np.ndarray
    """float64, all in their order."""

    counts: np.ndarray
    """How many each key has, one where it has no list; [lines, keys]."""

    def of(self, at: int) -> np.ndarray:
        """Those of a key, by its place."""
        if self.counts.size == len(self.values):
            return self.values.reshape(self.counts.shape)[:, at]
        mine = np.zeros(self.counts.shape, bool)
        mine[:, at] = True
        return self.values[np.repeat(mine.ravel(), self.counts.ravel())]


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type can be made."""
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind) or pa.types.is_integer(kind))


def are_sure(numbers: Numbers, layout: Layout, schema: pa.Schema, fractions: Callable[[int], bool]) -> bool:
    """Whether the text surely stands for the values that columns are made of.

    Args:
        numbers: of some lines.
        layout: theirs.
        schema: of the columns.
        fractions: whether a number of a key, by its place, is written with a point or an exponent.
    """
    kinds = {_element(field.type) for field in schema}
    if pa.float32() in kinds and _is_half_way(numbers.values):
        return False
    for field in schema:
        kind, at = _element(field.type), layout.places[field.name]
        if pa.types.is_integer(kind):
            limits, values = np.iinfo(kind.to_pandas_dtype()), numbers.of(at)
            least, most = max(float(limits.min), 1 - EXACT), min(float(limits.max), EXACT - 1)
            if fractions(at) or not (least <= values.min() and values.max() <= most):
                return False
    return True


def _is_half_way(values: np.ndarray) -> bool:
    """Whether a double lies between two float32, so that its text may be nearer to either; among the smallest, of fewer
    digits, that is not looked for."""
    middle = (values.view(np.uint64) & 0x1FFF_FFFF) == 0x1000_0000
    return bool(middle.any() or ((np.abs(values) < _TINY) & (values != 0)).any())


def columns_of(parts: Sequence[Numbers], layout: Layout, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, of lines one after the other."""
    values, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    numbers = Numbers(values, counts)
    table = values.reshape(counts.shape) if counts.size == len(values) else None
    made: dict[np.dtype, np.ndarray] = {}
    columns = []
    for field in schema:
        kind, at = _element(field.type), layout.places[field.name]
        dtype = np.dtype(kind.to_pandas_dtype())
        if table is None:
            column = _as(numbers.of(at), dtype)
        else:
            # All of a type at once, column by column in memory.
            if dtype not in made:
                made[dtype] = np.ascontiguousarray(_as(table, dtype).T)
            column = made[dtype][at]
        array = pa.array(column)
        if at in layout.lists:
            ends = np.append(0, np.cumsum(counts[:, at])).astype(np.int32)
            array = pa.ListArray.from_arrays(pa.array(ends), array, type=field.type)
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=schema)


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # of keys that have another type
        return values.astype(dtype, copy=False)


def _element(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_list(kind) else kind
