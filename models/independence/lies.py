"""How the rows lie in a tensor, as far as the graph alone tells."""

from __future__ import annotations

from dataclasses import dataclass, replace

from beamsplit.models.independence.dims import ONE, ROWS, Dim, product, unknown

Shape = tuple[Dim, ...]


class Ends(Exception):
    """The proof ends: rows meet here, or nothing says that they do not. The message is the reason, without the node."""

    def __init__(self, reason: str, counts: bool = False) -> None:
        super().__init__(reason)
        self.counts = counts
        """Whether the size of what comes out depends on the values of the rows."""


@dataclass(frozen=True)
class Same:
    """A tensor that does not depend on the rows, unless on how many they are."""

    shape: Shape | None = None
    """None where not even the number of axes is known."""

    content: tuple[Dim, ...] | None = None
    """Of a scalar or a short vector of whole numbers, such as a shape: what they are."""

    @property
    def counts_rows(self) -> bool:
        """Whether the number of rows is among the values."""
        return self.content is not None and any(dim.rows for dim in self.content)


@dataclass(frozen=True)
class Rows:
    """A tensor in which each row has its part on one axis, made of that row alone.

    The axis is `outer` x rows x `inner` long: [rows, 5] -> outer 1, inner 1; [rows x heads, 5, 5] -> inner 12.
    """

    axis: int
    shape: Shape
    outer: Dim = ONE
    inner: Dim = ONE

    @property
    def plain(self) -> bool:
        """Whether nothing but rows lies on the axis."""
        return self.outer == ONE and self.inner == ONE

    def shaped(self, axis: int, shape: Shape) -> Rows:
        """The same rows, not folded anew, in a tensor of another shape."""
        return replace(self, axis=axis, shape=shape)


@dataclass(frozen=True)
class Met:
    """A tensor in which the rows have met, or may have."""

    node: str
    """Where that was, for people: `ReduceMax 'peak'`."""

    reason: str
    counts: bool = False
    """Whether its size depends on the values of the rows."""


@dataclass(frozen=True)
class Numbered:
    """A tensor whose values have to do with the numbers of the rows, which a row alone does not have.

    It is there to be followed to where each row picks its own part with it.
    """

    rows: Rows
    """How it lies."""

    node: str
    """What numbers the rows, for people."""

    column: int | None = None
    """Where on the last axis the plain number of the row stands; -1 where it is all there is; None where nowhere."""

    def met(self) -> Met:
        """It as what it is to everything else."""
        return Met(self.node, "it numbers the rows")


Lie = Same | Rows | Met | Numbered
Given = Same | Rows
"""What a rule sees: nodes behind a meeting are not looked at."""


def rows_on(axis: int, shape: Shape) -> Rows:
    """Rows on that axis of a tensor whose other axes have these sizes (that of the axis itself is set)."""
    return Rows(axis, (*shape[:axis], ROWS, *shape[axis + 1 :]))


def made_of(shape: Shape, axis: int, outer: Dim, inner: Dim) -> Rows:
    """Rows folded into an axis."""
    return Rows(axis, (*shape[:axis], product([outer, ROWS, inner]), *shape[axis + 1 :]), outer, inner)


def rank(given: Given | None, what: str = "an input") -> int:
    """Number of axes.

    Raises:
        Ends: it is not known.
    """
    return len(shape_of(given, what))


def shape_of(given: Given | None, what: str = "an input") -> Shape:
    """The shape.

    Raises:
        Ends: not even the number of axes is known.
    """
    if given is None or given.shape is None:
        raise Ends(f"the shape of {what} is not known")
    return given.shape


def the_same(given: Given | None, what: str) -> None:
    """Raise unless that does not depend on the rows, nor on their number; an absent input is fine."""
    if isinstance(given, Rows):
        raise Ends(f"its {what} differs from row to row")
    if isinstance(given, Same) and given.counts_rows:
        raise Ends(f"its {what} depends on the number of rows")


def content_of(given: Given | None, what: str) -> tuple[Dim, ...]:
    """The whole numbers of a short vector.

    Raises:
        Ends: they depend on the rows or are not known.
    """
    if isinstance(given, Rows):
        raise Ends(f"its {what} depends on the rows")
    if given is None or given.content is None:
        raise Ends(f"its {what} is not known")
    return given.content


def numbers_of(given: Given | None, what: str) -> list[int]:
    """The same where all of them are known numbers.

    Raises:
        Ends: one is not.
    """
    known = [dim.known for dim in content_of(given, what)]
    found = [number for number in known if number is not None]
    if len(found) != len(known):
        raise Ends(f"its {what} is not known")
    return found


def at(axis: int, axes: int) -> int:
    """An axis counted from the front."""
    return axis + axes if axis < 0 else axis


def missing(name: str) -> Met:
    """Of a tensor that nothing before has made."""
    return Met(f"tensor {name!r}", "nothing makes it")


def wider(one: Lie, other: Lie) -> Lie:
    """What is known of a tensor that is one or the other.

    Raises:
        Ends: rows lie in them in unlike ways.
    """
    one, other = (each.met() if isinstance(each, Numbered) else each for each in (one, other))
    if isinstance(one, Met) or isinstance(other, Met):
        return one if isinstance(one, Met) else other
    if isinstance(one, Same) and isinstance(other, Same):
        if one == other:
            return one
        if one.counts_rows or other.counts_rows:
            raise Ends("it chooses between numbers of rows")
        return Same(_either(one.shape, other.shape))
    if isinstance(one, Rows) and isinstance(other, Rows):
        shape = _either(one.shape, other.shape)
        if shape is None or (one.axis, one.outer, one.inner) != (other.axis, other.outer, other.inner):
            raise Ends("rows lie on unlike axes")
        return replace(one, shape=shape)
    raise Ends("what is no row's stands where rows were")


def _either(one: Shape | None, other: Shape | None) -> Shape | None:
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(a if a == b else unknown() for a, b in zip(one, other, strict=True))
