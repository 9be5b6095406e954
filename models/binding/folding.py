"""How the values of one row of data are folded into the shape that a model's input has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from beamsplit.models.graph.signature import Dim
from beamsplit.models.values.tensors import Array


@dataclass(frozen=True)
class Fold:
    """From the shape of a row in the data to the shape of a row in the model."""

    row_shape: tuple[int | None, ...]
    """Shape of a row as the model takes it; None where it varies from row to row."""

    sources: tuple[int | None, ...] | None
    """For each model dimension the data dimension it is, None for an axis of size 1 that the data leaves out.

    None as a whole: the data is one flat list (or one value), folded by the number of its values.
    """

    @property
    def fixed(self) -> bool:
        """Whether all rows have one shape."""
        return None not in self.row_shape

    def apply(self, shapes: Array, sizes: Array) -> tuple[Array, Array]:
        """Fold many rows.

        Args:
            shapes: int64[rows, depth], the shape of each row of data.
            sizes: int64[rows], its number of values.

        Returns:
            int64[rows, rank], each row's shape in the model, and bool[rows], whether the row fits at all.
        """
        folded = np.ones((len(shapes), len(self.row_shape)), dtype=np.int64)
        fits = np.ones(len(shapes), dtype=np.bool_)
        if self.sources is None:
            known = math.prod(size for size in self.row_shape if size is not None)
            for axis, size in enumerate(self.row_shape):
                folded[:, axis] = sizes // max(known, 1) if size is None else size
            return folded, folded.prod(axis=1) == sizes
        for axis, (size, source) in enumerate(zip(self.row_shape, self.sources, strict=True)):
            if source is not None:
                folded[:, axis] = shapes[:, source]
                if size is not None:
                    fits &= shapes[:, source] == size
        return folded, fits


def fold(dims: tuple[Dim, ...] | None, shape: tuple[int | None, ...]) -> Fold | None:
    """Find how rows of shape `shape` fill a model's dimensions `dims` (without its rows axis).

    Tried in this order: the same dimensions; the same but for axes of size 1; a flat list whose number of
    values tells the model's shape, at most one dimension of which may be unknown.

    Args:
        dims: sizes, symbols or None; None as a whole where not even the rank is known: anything goes.
        shape: None where a dimension varies from row to row.

    Returns:
        None where the rows cannot fill the dimensions.

    >>> fold((3, "h", "w"), (3, 20, 30)).row_shape
    (3, 20, 30)
    >>> fold((1, 28, 28), (28, 28)).row_shape
    (1, 28, 28)
    >>> fold(("time", 40), (4000,)).row_shape
    (100, 40)
    """
    if dims is None:
        return Fold(shape, tuple(range(len(shape))))
    sizes = tuple(dim if isinstance(dim, int) else None for dim in dims)
    for wanted, given in (
        (list(range(len(sizes))), list(range(len(shape)))),
        ([i for i, size in enumerate(sizes) if size != 1], [i for i, size in enumerate(shape) if size != 1]),
    ):
        merged = _merge([sizes[i] for i in wanted], [shape[i] for i in given])
        if merged is not None:
            row_shape: list[int | None] = [1] * len(sizes)
            sources: list[int | None] = [None] * len(sizes)
            for axis, source, size in zip(wanted, given, merged, strict=True):
                row_shape[axis], sources[axis] = size, source
            return Fold(tuple(row_shape), tuple(sources))
    if len(shape) > 1 or sizes.count(None) > 1:
        return None
    total = shape[0] if shape else 1
    if total is None:
        return Fold(sizes, None)
    known = math.prod(size for size in sizes if size is not None)
    row_shape = [total // max(known, 1) if size is None else size for size in sizes]
    return Fold(tuple(row_shape), None) if math.prod(size or 0 for size in row_shape) == total else None


def _merge(wanted: list[int | None], given: list[int | None]) -> list[int | None] | None:
    """Dimension by dimension the size that either side knows; None where they differ."""
    if len(wanted) != len(given):
        return None
    merged = [g if w is None else w for w, g in zip(wanted, given, strict=True)]
    return None if any(g not in (None, m) for g, m in zip(given, merged, strict=True)) else merged
