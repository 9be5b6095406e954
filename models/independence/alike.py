"""Rows of like size: what a scale that is set from all values of a run is fair to.

A row of 1e6 among rows of 1 would round them to 0, and one of NaN would make NaN of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"

TIMES = 4
"""How many times as large as another the largest value of a row may be in one run, at most."""


class _Rows(Protocol):
    """A `BoundBlock`."""

    def take(self, indices: Array) -> dict[str, Array]: ...


def alike(bound: _Rows, axes: Mapping[str, int], rows: Array) -> list[Array]:
    """Groups of those rows whose largest values are alike in each input; a row of NaN or infinity is alone.

    Args:
        bound: rows as the model takes them.
        axes: the axis of the rows of each input.
        rows: ascending positions, of one shape.
    """
    if len(rows) < 2:
        return [rows]
    feeds = bound.take(rows)
    keys = [_sizes(np.moveaxis(feeds[name], axis, 0)) for name, axis in axes.items() if feeds[name].dtype.kind == "f"]
    if not keys:
        return [rows]
    table = np.stack(keys, axis=1)
    odd = (table == _ODD).any(axis=1)
    groups = [rows[at : at + 1] for at in np.flatnonzero(odd)]
    plain = np.flatnonzero(~odd)
    if len(plain):
        order = np.lexsort(table[plain].T)
        steps = np.flatnonzero((np.diff(table[plain][order], axis=0) != 0).any(axis=1)) + 1
        groups += [rows[np.sort(plain[part])] for part in np.split(order, steps)]
    groups.sort(key=lambda group: int(group[0]))
    return groups


_ODD = np.iinfo(np.int32).max


def _sizes(values: Array) -> Array:
    """For each row how often `TIMES` is a factor of its largest value, or `_ODD`."""
    flat = values.reshape(len(values), -1)
    if not flat.shape[1]:
        return np.zeros(len(values), np.int32)
    # The largest and least say it without a copy of all values; NaN is passed on.
    with np.errstate(invalid="ignore"):
        largest = np.maximum(flat.max(axis=1), -flat.min(axis=1)).astype(np.float64)
    odd = ~np.isfinite(largest)
    _, powers = np.frexp(np.where(odd, 0.0, largest))
    return np.where(odd, _ODD, powers.astype(np.int32) // int(np.log2(TIMES))).astype(np.int32)
