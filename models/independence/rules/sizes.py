"""Operators that make sizes, and tensors of sizes."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import ONE, Dim, product, quotient, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, at, content_of, made_of, shape_of, the_same
from beamsplit.models.independence.reading import MOST_NUMBERS, Node


def shape(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Shape."""
    dims = shape_of(given[0])
    start = at(node.whole("start"), len(dims)) if node.has("start") else 0
    end = at(node.whole("end"), len(dims)) if node.has("end") else len(dims)
    taken = dims[max(0, start) : max(0, end)]
    return [Same((size(len(taken)),), tuple(taken))]


def count(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Size."""
    return [Same((), (product(shape_of(given[0])),))]


def constant_of_shape(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ConstantOfShape: the same value everywhere, so each row has its own."""
    dims = content_of(given[0], "shape")
    counted = [axis for axis, dim in enumerate(dims) if dim.rows]
    if len(counted) > 1 or any(dim.rows > 1 for dim in dims):
        raise Ends("it makes a place for each row and row")
    if counted:
        inner = quotient(dims[counted[0]], Dim(1, 1, ()))
        assert inner is not None
        return [made_of(dims, counted[0], ONE, inner)]
    length = dims[0].known if len(dims) == 1 else 1 if not dims else None
    value = 0.0
    if node.has("value"):
        tensor = node.attributes["value"].tensor
        numbers = tensor.numbers if tensor is not None else None
        if not numbers or not float(numbers[0]).is_integer():
            length = None
        else:
            value = numbers[0]
    if length is not None and 0 <= length <= MOST_NUMBERS:
        return [Same(dims, (size(int(value)),) * length)]
    return [Same(dims)]


def range_of(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Range(start, limit, delta)."""
    for one in given:
        the_same(one, "start, limit or step, which numbers the rows,")
    start, limit, step = (one.content[0] if isinstance(one, Same) and one.content else unknown() for one in given)
    if start == size(0) and step == ONE:
        if limit.known is not None and 0 <= limit.known <= MOST_NUMBERS:
            return [Same((limit,), tuple(map(size, range(limit.known))))]
        # A size; what is below 0 gives nothing, which no model means.
        return [Same((limit if limit.factor > 0 else unknown(),))]
    return [Same((unknown(),))]


def eye_like(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """EyeLike."""
    if isinstance(given[0], Rows):
        raise Ends("it numbers the rows")
    return [Same(shape_of(given[0]))]


def drawn(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """RandomNormal and RandomUniform: of a fixed shape."""
    return [Same(tuple(map(size, node.ints("shape") or [])))]


RULES = {
    ("", "Shape"): shape,
    ("", "Size"): count,
    ("", "ConstantOfShape"): constant_of_shape,
    ("", "Range"): range_of,
    ("", "EyeLike"): eye_like,
    ("", "RandomNormal"): drawn,
    ("", "RandomUniform"): drawn,
}
