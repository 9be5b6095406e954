"""The placement of one tensor on the shards of a model: replicated, sharded along an axis, or partial, as in DTensor.

replicated  every shard has all of it
sharded     shard k has a slice along one axis       joined by Concat (all-gather)
partial     shard k has a term of the tensor         joined by Sum (all-reduce)
sizes       a shape vector with shard k's own sizes  joined by writing the whole sizes into it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import gcd, prod
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True)
class Replicated:
    """Every shard has the whole tensor."""


class ShardingOrigin(NamedTuple):
    """A node at which a split began: its granule decides where that is cut."""

    node: str
    """Its name."""

    each: int = 1
    """How long a piece of this axis goes with one place of the node's: of the parts of a result each has its own."""


@dataclass(frozen=True)
class Sharded:
    """Each shard has a slice along one axis, in the order of the shards."""

    axis: int
    """From 0."""

    pieces: tuple[int, ...]
    """Length of each shard's slice; they add up to the axis."""

    origins: frozenset[ShardingOrigin] = field(default=frozenset(), compare=False)
    """The nodes at which the split began."""

    outer: int = 1
    """Size, on the sample, of what was merged into the axis from before it: [rows, heads, ...] -> [rows x heads, ...].

    The axis is then `outer` times `pieces`, and a shard has its slice of each.
    """

    sections: tuple[tuple[int, ...], ...] = ()
    """Where several tensors lie behind one another along the axis (q, k, v): the lengths of the slices of each.

    A shard has its slice of each, behind one another, and `pieces` are the lengths of these together.
    """


@dataclass(frozen=True)
class Partial:
    """Each shard has a term: the tensor is their sum."""


@dataclass(frozen=True)
class Sizes:
    """A vector of sizes, in which some are those of the shard's own slices."""

    positions: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """(position in the vector, length of each shard's slice)."""


Placement: TypeAlias = Replicated | Sharded | Partial | Sizes

REPLICATED, PARTIAL = Replicated(), Partial()


class NeedsGranule(Exception):
    """A split is cut where a later node cannot use it: `origins` must cut at multiples of `granule` only."""

    def __init__(self, origins: frozenset[ShardingOrigin], granule: int):
        super().__init__(f"{', '.join(sorted(one.node for one in origins))} must be cut at multiples of {granule}")
        self.origins = origins
        self.granule = granule


class NeedsParts(Exception):
    """What the origins of a split make is several tensors behind one another, and each must be cut.

    Args:
        origins: of the split.
        sizes: lengths of the tensors along the axis.
        places: at how many places each may be cut: it divides all sizes, and all are cut alike.
    """

    def __init__(self, origins: frozenset[ShardingOrigin], sizes: tuple[int, ...], places: int):
        super().__init__(f"{', '.join(sorted(one.node for one in origins))} must be cut in parts of {list(sizes)}")
        self.origins = origins
        self.sizes = sizes
        self.places = places


def cut_evenly(size: int, shards: int, granule: int = 1) -> tuple[int, ...] | None:
    """Lengths of `shards` slices of an axis, multiples of `granule`, that differ by one granule at most.

    None where the axis is no multiple of the granule or has fewer granules than there are shards.

    >>> cut_evenly(10, 4)
    (3, 3, 2, 2)
    >>> cut_evenly(384, 5, 32)
    (96, 96, 64, 64, 64)
    """
    if size % granule or size // granule < shards:
        return None
    each, more = divmod(size // granule, shards)
    return tuple((each + (k < more)) * granule for k in range(shards))


def bounds(pieces: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(start, stop) of each slice."""
    ends = list(accumulate(pieces))
    return tuple(zip([0, *ends[:-1]], ends, strict=True))


def move_sharded(placement: Sharded, source: tuple[int, ...], result: tuple[int, ...]) -> Sharded | None:
    """Where the split lies after a reshape; None if its slices would not stay in one piece.

    >>> move_sharded(Sharded(2, (64, 32)), (3, 7, 96), (3, 7, 3, 32)).pieces
    (2, 1)
    >>> move_sharded(Sharded(1, (2, 1)), (5, 3, 4, 4), (5, 48)).pieces
    (32, 16)
    >>> move_sharded(Sharded(1, (2, 1)), (5, 3, 4), (15, 4)).outer
    5
    """
    before, behind = prod(source[: placement.axis]) * placement.outer, prod(source[placement.axis + 1 :])
    axis = next((at for at in range(len(result)) if prod(result[:at]) <= before < prod(result[: at + 1])), None)
    if axis is None or before % prod(result[:axis]):
        return None
    outer, inner = before // prod(result[:axis]), prod(result[axis + 1 :])
    size = sum(placement.pieces)
    if result[axis] * inner != outer * size * behind:
        return None
    # One step along the new axis covers `inner` elements, one along the old axis `behind`.
    if any(piece * behind % inner for piece in placement.pieces):
        step = inner // gcd(inner, behind)
        if size % step:
            return None
        raise NeedsGranule(placement.origins, step)
    return Sharded(axis, tuple(piece * behind // inner for piece in placement.pieces), placement.origins, outer)
