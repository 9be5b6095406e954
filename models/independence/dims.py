"""Sizes that are not numbers yet: how often a size contains the number of rows, and what else it is made of.

768 -> (0, 768, ())    rows x 12 -> (1, 12, ())    rows x sequence -> (1, 1, (4,))
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

_numbers = itertools.count(1)


class Dim(NamedTuple):
    """A product of the number of rows, a constant and unknown sizes that all rows share."""

    rows: int
    """How many times the number of rows is a factor; 0 in sizes that do not depend on it."""

    factor: int
    unknown: tuple[int, ...]
    """Numbers of the unknown sizes, sorted: equal numbers are equal sizes."""

    @property
    def known(self) -> int | None:
        """The size, where it is a number."""
        return self.factor if not self.rows and not self.unknown else None


def size(number: int) -> Dim:
    """A size that is known."""
    return Dim(0, number, ())


def unknown() -> Dim:
    """A size that all rows share, and of which nothing else is known."""
    return Dim(0, 1, (next(_numbers),))


ONE, ROWS = size(1), Dim(1, 1, ())


def product(dims: Iterable[Dim]) -> Dim:
    """All of them multiplied."""
    rows, factor, symbols = 0, 1, list[int]()
    for dim in dims:
        rows += dim.rows
        factor *= dim.factor
        symbols.extend(dim.unknown)
    return Dim(rows, factor, tuple(sorted(symbols)))


def quotient(dim: Dim, by: Dim) -> Dim | None:
    """`dim / by`, where that is known to be a whole number; else None."""
    if by.factor == 0 or dim.factor % by.factor or dim.rows < by.rows:
        return None
    left = list(dim.unknown)
    for symbol in by.unknown:
        if symbol not in left:
            return None
        left.remove(symbol)
    return Dim(dim.rows - by.rows, dim.factor // by.factor, tuple(left))
