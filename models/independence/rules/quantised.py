"""Numbers turned into few bits and back, with scales that are the same for all rows."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.lies import Ends, Given, Rows, Same, at, shape_of, the_same
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules.elementwise import joined
from beamsplit.models.independence.rules.norms import softmax
from beamsplit.models.independence.rules.shape import concat


def linear(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QuantizeLinear and DequantizeLinear: one scale, or one for each place on an axis that is not the rows'."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    for one in given[1:]:
        the_same(one, "scale or zero point")
        if one is None or not isinstance(data, Rows):
            continue
        scales = shape_of(one, "the scale")
        several = len(scales) > 1 or (len(scales) == 1 and scales[0].known != 1)
        if several and (len(scales) > 1 or at(node.whole("axis", 1), len(shape)) == data.axis):
            raise Ends("it has scales along the rows, or may")
    return [data if isinstance(data, Rows) else Same(shape)]


def at_run(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """DynamicQuantizeLinear, apart from the scale that it sets: (y, scale, zero point)."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    return [data if isinstance(data, Rows) else Same(shape), Same(()), Same(())]


def two(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearAdd and QLinearMul: (a, scale, zero, b, scale, zero, y scale, y zero)."""
    for position in (1, 2, 4, 5, 6, 7):
        the_same(given[position] if position < len(given) else None, "scale or zero point")
    return [joined([one for one in (given[0], given[3]) if one is not None])]


def one(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearSigmoid and QLinearLeakyRelu: (x, scale, zero, y scale, y zero)."""
    for other in given[1:]:
        the_same(other, "scale or zero point")
    data = given[0]
    assert data is not None
    return [data if isinstance(data, Rows) else Same(shape_of(data))]


def chained(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearConcat(y scale, y zero, then x, scale, zero of each)."""
    for position, other in enumerate(given):
        if position < 2 or (position - 2) % 3:
            the_same(other, "scale or zero point")
    return concat(node, given[2::3])


RULES = {
    ("", "QuantizeLinear"): linear,
    ("", "DequantizeLinear"): linear,
    ("", "DynamicQuantizeLinear"): at_run,
    ("com.microsoft", "QuantizeLinear"): linear,
    ("com.microsoft", "DequantizeLinear"): linear,
    ("com.microsoft", "QLinearAdd"): two,
    ("com.microsoft", "QLinearMul"): two,
    ("com.microsoft", "QLinearSigmoid"): one,
    ("com.microsoft", "QLinearLeakyRelu"): one,
    ("com.microsoft", "QLinearConcat"): chained,
    ("com.microsoft", "QLinearSoftmax"): softmax,
}
