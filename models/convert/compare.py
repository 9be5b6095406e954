"""A converted model beside its original, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Comparison:
    """How far one output is from the original's."""

    output: str
    rows: int
    wrong: int
    """Rows that differ by more than is allowed; of labels, that differ."""

    largest: float
    """Difference of a number; 0 of labels."""

    @property
    def line(self) -> str:
        """In words."""
        if not self.wrong and not self.largest:
            return f"{self.output}: equal in all {self.rows:,} rows"
        found = f"{self.output}: largest difference {self.largest:.3g}" if self.largest else f"{self.output}: "
        return f"{found}{', ' * bool(self.largest)}{self.wrong:,} of {self.rows:,} rows differ by more than is allowed"


def compare(ours: Mapping[str, Array], theirs: Mapping[str, Array], tolerance: float) -> list[Comparison]:
    """A comparison of each output that both have.

    Args:
        ours: of the ONNX model.
        theirs: of the original.
        tolerance: largest difference of a number, as a share of the number or of 1, whichever is more.

    >>> [c.line for c in compare({"y": np.array([[1.0], [2.0]])}, {"y": np.array([1.0, 2.5])}, 0.1)]
    ['y: largest difference 0.5, 1 of 2 rows differ by more than is allowed']
    """
    return [_of_one(name, ours[name], theirs[name], tolerance) for name in ours if name in theirs]


def _of_one(name: str, ours: Array, theirs: Array, tolerance: float) -> Comparison:
    rows = len(theirs)
    if ours.size != theirs.size:
        return Comparison(name, rows, rows, float("inf"))
    ours = ours.reshape(rows, -1)
    theirs = theirs.reshape(rows, -1)
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiub":
        wrong = (ours.astype(str) != theirs.astype(str)).any(axis=1)
        return Comparison(name, rows, int(wrong.sum()), 0.0)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    allowed = 0.0 if name == "label" else tolerance * np.maximum(1.0, np.abs(b))
    return Comparison(name, rows, int((apart > allowed).any(axis=1).sum()), float(apart.max(initial=0.0)))


def lines(comparisons: Sequence[Comparison]) -> list[str]:
    """In words."""
    return [one.line for one in comparisons]
