"""Operators that take some elements of a tensor by their places."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import ONE, Dim, product, size, unknown
from beamsplit.models.independence.lies import (
    Ends,
    Given,
    Rows,
    Same,
    Shape,
    at,
    content_of,
    made_of,
    numbers_of,
    shape_of,
    the_same,
)  # fmt: skip
from beamsplit.models.independence.reading import Node

_FAR = 10**9
"""An end as far away as this means all there are: no run has as many rows."""

_LARGEST = 2**31 - 1
"""From here on ends of backward steps are read in two ways: ONNX Runtime's is the beginning, the standard's the end."""


def gather(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Gather(data, indices)."""
    data, indices = given[0], given[1]
    shape, wanted = shape_of(data), shape_of(indices, "the indices")
    axis = at(node.whole("axis"), len(shape))
    made = (*shape[:axis], *wanted, *shape[axis + 1 :])
    assert data is not None and indices is not None
    if isinstance(data, Same):
        if data.content is not None:
            content = _picked(data.content, indices)
            if content is not None:
                return [Same(made, content)]
            if data.counts_rows:
                raise Ends("it works with the number of rows")
        if isinstance(indices, Same):
            the_same(indices, "place")
            return [Same(made)]
        return [indices.shaped(axis + indices.axis, made)]
    if isinstance(indices, Rows):
        raise Ends("each row picks places in a tensor of all rows")
    the_same(indices, "place")
    if data.axis == axis:
        raise Ends("it picks rows by their number")
    return [data.shaped(data.axis if data.axis < axis else data.axis + len(wanted) - 1, made)]


def _picked(content: tuple[Dim, ...], indices: Given) -> tuple[Dim, ...] | None:
    if not isinstance(indices, Same) or indices.content is None or len(indices.shape or ()) > 1:
        return None
    places = [dim.known for dim in indices.content]
    if any(place is None or not -len(content) <= place < len(content) for place in places):
        return None
    return tuple(content[place] for place in places if place is not None)


def slice_of(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Slice: starts, ends, axes and steps as inputs, or of early opsets as attributes."""
    data = given[0]
    shape = shape_of(data)
    if node.opset < 10:
        starts: Sequence[Dim] = [size(one) for one in node.ints("starts") or []]
        ends: Sequence[Dim] = [size(one) for one in node.ints("ends") or []]
        axes = node.ints("axes")
        steps = [1] * len(starts)
    else:
        # Where they begin and end need not be known, only that it is the same for all rows.
        starts, ends = (_places(given[position]) for position in (1, 2))
        axes = numbers_of(given[3], "axes") if len(given) > 3 and given[3] is not None else None
        steps = numbers_of(given[4], "steps") if len(given) > 4 and given[4] is not None else [1] * len(starts)
    axes = [at(axis, len(shape)) for axis in (list(range(len(starts))) if axes is None else axes)]
    if not len(axes) == len(starts) == len(ends) == len(steps):
        raise Ends("its axes are not known")
    assert data is not None
    made = list(shape)
    content = data.content if isinstance(data, Same) and len(shape) == 1 else None
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        whole = start == size(0) and step == 1 and (end == shape[axis] or (end.known or 0) >= _FAR)
        if whole:
            continue
        if start.rows or end.rows:
            raise Ends("where it begins or ends depends on the number of rows")
        if isinstance(data, Rows) and axis == data.axis:
            raise Ends("it takes some of the rows by their number")
        a, b, length = start.known, end.known, shape[axis].known
        b = None if b is not None and step < 0 and b >= _LARGEST else b
        if a is not None and b is not None and content is not None:
            content = content[a:b:step]
            made[axis] = size(len(content))
            continue
        content = None
        if a is not None and b is not None and length is not None:
            made[axis] = size(len(range(length)[a:b:step]))
        else:
            made[axis] = unknown()
    if isinstance(data, Rows):
        return [data.shaped(data.axis, tuple(made))]
    if content is None and data.counts_rows:
        raise Ends("it works with the number of rows")
    return [Same(tuple(made), content)]


def _places(given: Given | None) -> Sequence[Dim]:
    if isinstance(given, Same) and given.content is None and given.shape and given.shape[0].known is not None:
        return [unknown() for _ in range(given.shape[0].known)]
    return content_of(given, "beginning or end")


def gather_elements(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """GatherElements(data, indices): each index picks within its own line."""
    data, indices = given[0], given[1]
    axis = at(node.whole("axis"), len(shape_of(data)))
    if isinstance(data, Same) and isinstance(indices, Same):
        the_same(data, "data")
        the_same(indices, "place")
        return [Same(shape_of(indices))]
    _alike(data, indices)
    assert isinstance(indices, Rows)
    if indices.axis == axis:
        raise Ends("it picks rows by their number")
    return [indices]


def _alike(*given: Given | None) -> None:
    first = given[0]
    for one in given:
        if not isinstance(one, Rows) or not isinstance(first, Rows):
            raise Ends("rows stand beside what is no row's")
        if (one.axis, one.outer, one.inner) != (first.axis, first.outer, first.inner):
            raise Ends("rows lie on unlike axes")


def gather_nd(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """GatherND(data, indices)."""
    data, indices = given[0], given[1]
    shape, wanted = shape_of(data), shape_of(indices)
    depth, batch = wanted[-1].known, node.whole("batch_dims")
    if depth is None:
        raise Ends("how many axes its indices name is not known")
    made = (*wanted[:-1], *shape[batch + depth :])
    if isinstance(data, Same) and isinstance(indices, Same):
        the_same(data, "data")
        the_same(indices, "place")
        return [Same(made)]
    assert data is not None
    if isinstance(data, Same) and not batch and isinstance(indices, Rows) and indices.axis < len(wanted) - 1:
        the_same(data, "data")
        return [indices.shaped(indices.axis, made)]
    _alike(data, indices)
    assert isinstance(indices, Rows)
    if indices.axis >= batch:
        raise Ends("each row picks places in a tensor of all rows")
    return [indices.shaped(indices.axis, made)]


def scatter_elements(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ScatterElements(data, indices, updates)."""
    if all(isinstance(one, Same) for one in given):
        for one in given:
            the_same(one, "data")
        return [Same(shape_of(given[0]))]
    _alike(*given)
    data = given[0]
    assert isinstance(data, Rows)
    if data.axis == at(node.whole("axis"), len(data.shape)):
        raise Ends("it puts values into rows by their number")
    return [data]


def compress(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Compress(data, condition)."""
    data, condition = given[0], given[1]
    if isinstance(condition, Rows):
        raise Ends("how much it takes depends on the values of the rows", counts=True)
    shape = shape_of(data)
    the_same(condition, "condition")
    if not node.has("axis"):
        if isinstance(data, Rows):
            raise Ends("it takes elements of all rows", counts=True)
        return [Same((unknown(),))]
    axis = at(node.whole("axis"), len(shape))
    made = (*shape[:axis], unknown(), *shape[axis + 1 :])
    if isinstance(data, Rows):
        if data.axis == axis:
            raise Ends("it takes some of the rows by their number")
        return [data.shaped(data.axis, made)]
    return [Same(made)]


def counting(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """NonZero, NonMaxSuppression and Unique: as many as the values make."""
    if any(isinstance(one, Rows) for one in given):
        raise Ends("how much it gives depends on the values of the rows", counts=True)
    for one in given:
        the_same(one, "data")
    raise Ends("its size is not known")


def lookup(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ArrayFeatureExtractor(data, places): along the last axis."""
    data, places = given[0], given[1]
    shape, wanted = shape_of(data), shape_of(places)
    assert data is not None and places is not None
    head: Shape = shape[:-1] or (ONE,)
    if isinstance(data, Rows):
        the_same(places, "place")
        if data.axis == len(shape) - 1:
            raise Ends("it picks rows by their number")
        return [data.shaped(data.axis, (*head, product(wanted)))]
    if isinstance(places, Same):
        the_same(places, "place")
        the_same(data, "data")
        return [Same((*head, product(wanted)))]
    outer = product([*wanted[: places.axis], places.outer])
    inner = product([places.inner, *wanted[places.axis + 1 :]])
    return [made_of((*head, ONE), len(head), outer, inner)]


RULES = {
    ("", "Gather"): gather,
    ("", "Slice"): slice_of,
    ("", "GatherElements"): gather_elements,
    ("", "GatherND"): gather_nd,
    ("", "ScatterElements"): scatter_elements,
    ("", "Scatter"): scatter_elements,
    ("", "Compress"): compress,
    ("", "NonZero"): counting,
    ("", "NonMaxSuppression"): counting,
    ("", "Unique"): counting,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): lookup,
}
