"""Operators that give elements another shape or place."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import ONE, Dim, product, quotient, size, unknown
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


def regroup(given: Given, target: Shape) -> Given:
    """The elements in their order, in another shape.

    Raises:
        Ends: rows would not lie on one axis any more, or it is not known that they would.
    """
    if isinstance(given, Same):
        content = given.content if len(target) <= 1 else None
        return Same(target, content)
    before = product([*given.shape[: given.axis], given.outer])
    passed = ONE
    for axis, dim in enumerate(target):
        if not dim.rows:
            passed = product([passed, dim])
            continue
        outer = quotient(before, passed)
        inner = None if outer is None or dim.rows > 1 else quotient(dim, Dim(1, outer.factor, outer.unknown))
        if outer is None or inner is None or any(other.rows for other in target[axis + 1 :]):
            break
        return Rows(axis, target, outer, inner)
    raise Ends("its target does not keep each row together")


def reshape(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Reshape(data, shape); of opset 1 to 4 with the shape as an attribute."""
    data = given[0]
    if node.opset < 5 or len(given) < 2:
        target = tuple(map(size, node.ints("shape") or []))
    else:
        target = content_of(given[1], "target")
    assert data is not None
    if data.shape is None and isinstance(data, Same):
        return [Same(tuple(unknown() if dim.known in (0, -1) else dim for dim in target))]
    shape = shape_of(data)
    if not node.whole("allowzero"):
        if any(dim == size(0) and axis >= len(shape) for axis, dim in enumerate(target)):
            raise Ends("its target copies an axis that is not there")
        target = tuple(shape[axis] if dim == size(0) else dim for axis, dim in enumerate(target))
    if size(-1) in target:
        rest = product(dim for dim in target if dim != size(-1))
        total = product(shape)
        left = quotient(total, rest)
        if left is None:
            if total.rows != rest.rows:
                raise Ends("nothing says that its target gives each row a whole number of places")
            left = unknown()
        target = tuple(left if dim == size(-1) else dim for dim in target)
    return [regroup(data, target)]


def flatten(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Flatten: two axes."""
    shape = shape_of(given[0])
    axis = at(node.whole("axis", 1), len(shape))
    assert given[0] is not None
    return [regroup(given[0], (product(shape[:axis]), product(shape[axis:])))]


def transpose(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Transpose."""
    data = given[0]
    shape = shape_of(data)
    order = node.ints("perm") or list(range(len(shape)))[::-1]
    made = tuple(shape[axis] for axis in order)
    if isinstance(data, Rows):
        return [data.shaped(order.index(data.axis), made)]
    assert data is not None
    return [Same(made, data.content if len(made) <= 1 else None)]


def _axes(node: Node, given: Sequence[Given | None]) -> list[int] | None:
    """The attribute, or the second input of later opsets."""
    if node.has("axes"):
        return node.ints("axes")
    return numbers_of(given[1], "axes") if len(given) > 1 and given[1] is not None else None


def squeeze(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Squeeze."""
    data, axes = given[0], _axes(node, given)
    shape = shape_of(data)
    if axes is None:
        if any(dim.known is None for dim in shape):
            raise Ends("it drops every axis that happens to be 1 long, the rows' too")
        axes = [axis for axis, dim in enumerate(shape) if dim == ONE]
    gone = {at(axis, len(shape)) for axis in axes}
    made = tuple(dim for axis, dim in enumerate(shape) if axis not in gone)
    if isinstance(data, Rows):
        if data.axis in gone:
            raise Ends("it drops the axis of the rows")
        return [data.shaped(data.axis - sum(axis < data.axis for axis in gone), made)]
    assert data is not None
    return [Same(made, data.content)]


def unsqueeze(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Unsqueeze."""
    data, axes = given[0], _axes(node, given)
    shape = shape_of(data)
    if axes is None:
        raise Ends("its axes are not known")
    new = {at(axis, len(shape) + len(axes)) for axis in axes}
    old = iter(enumerate(shape))
    made, moved = [], 0
    for axis in range(len(shape) + len(new)):
        if axis in new:
            made.append(ONE)
            continue
        before, dim = next(old)
        made.append(dim)
        if isinstance(data, Rows) and before == data.axis:
            moved = axis
    if isinstance(data, Rows):
        return [data.shaped(moved, tuple(made))]
    assert data is not None
    return [Same(tuple(made), data.content if len(made) <= 1 else None)]


def expand(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Expand(data, shape)."""
    data, target = given[0], content_of(given[1], "target")
    shape = shape_of(data)
    axes = max(len(shape), len(target))
    made: list[Dim] = []
    counted = []
    for behind in range(axes, 0, -1):
        own = shape[-behind] if len(shape) >= behind else ONE
        wanted = target[-behind] if len(target) >= behind else ONE
        if wanted in (own, ONE):
            made.append(own)
        elif own == ONE:
            made.append(wanted)
        elif own.rows or wanted.rows:
            raise Ends("the number of rows stands beside another size")
        else:
            made.append(own if own.known is not None else wanted if wanted.known is not None else unknown())
        if made[-1].rows:
            counted.append(axes - behind)
    if not counted:
        return [Same(tuple(made))]
    axis = counted[0]
    if len(counted) > 1 or made[axis].rows > 1:
        raise Ends("it repeats a row for each row")
    if isinstance(data, Rows):
        return [data.shaped(axis, tuple(made))]
    inner = quotient(made[axis], Dim(1, 1, ()))
    assert inner is not None
    return [made_of(tuple(made), axis, ONE, inner)]


def tile(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Tile(data, repeats)."""
    if node.opset < 6:
        raise Ends("it is of an opset that is not known")
    data, repeats = given[0], content_of(given[1], "repeats")
    shape = shape_of(data)
    if len(repeats) != len(shape):
        raise Ends("its repeats are not known")
    made = tuple(product(pair) for pair in zip(shape, repeats, strict=True))
    if isinstance(data, Rows):
        if any(one.rows for one in repeats):
            raise Ends("it repeats a row for each row")
        return [made_of(made, data.axis, product([repeats[data.axis], data.outer]), data.inner)]
    counted = [axis for axis, one in enumerate(repeats) if one.rows]
    if not counted:
        return [Same(made)]
    if len(counted) > 1 or repeats[counted[0]].rows > 1:
        raise Ends("it repeats a row for each row")
    axis = counted[0]
    # Rows x k copies of what is there: each row has k of them, one behind another.
    inner = quotient(made[axis], Dim(1, 1, ()))
    assert inner is not None
    return [made_of(made, axis, ONE, inner)]


def concat(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Concat."""
    present = [one for one in given if one is not None]
    shapes = [shape_of(one) for one in present]
    axis = at(node.whole("axis", 1 if node.opset < 4 else 0), len(shapes[0]))
    divided = [one for one in present if isinstance(one, Rows)]
    contents = [one.content for one in present if isinstance(one, Same)]
    if not divided:
        known = [one for content in contents if content is not None for one in content]
        full = len(shapes[0]) == 1 and all(content is not None for content in contents)
        if not full and any(isinstance(one, Same) and one.counts_rows for one in present):
            raise Ends("it works with the number of rows")
        return [Same(_chained(shapes, axis), tuple(known) if full else None)]
    if len(divided) != len(present):
        raise Ends("what is no row's is put beside rows")
    first = divided[0]
    if any((one.axis, one.outer, one.inner) != (first.axis, first.outer, first.inner) for one in divided):
        raise Ends("rows lie on unlike axes")
    if first.axis == axis:
        raise Ends("rows are put behind rows")
    return [first.shaped(first.axis, _chained(shapes, axis))]


def _chained(shapes: Sequence[Shape], axis: int) -> Shape:
    first = shapes[0]
    lengths = [shape[axis] for shape in shapes]
    known = [dim.known for dim in lengths if dim.known is not None]
    total = lengths[0] if len(lengths) == 1 else size(sum(known)) if len(known) == len(lengths) else unknown()
    return (*first[:axis], total, *first[axis + 1 :])


def split(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Split, SplitToSequence left out."""
    data = given[0]
    shape = shape_of(data)
    axis = at(node.whole("axis"), len(shape))
    count = len(node.outputs)
    sizes: Sequence[Dim]
    if node.has("split"):
        sizes = [size(one) for one in node.ints("split") or []]
    elif len(given) > 1 and given[1] is not None:
        sizes = content_of(given[1], "sizes")
        if any(one.rows for one in sizes):
            raise Ends("its sizes depend on the number of rows")
    else:
        even = quotient(shape[axis], size(count))
        sizes = [even if even is not None else unknown()] * count
    if isinstance(data, Rows) and data.axis == axis:
        raise Ends("it deals the rows to several tensors")
    made: list[Given] = []
    start: int | None = 0
    for one in sizes:
        piece = (*shape[:axis], one, *shape[axis + 1 :])
        if isinstance(data, Rows):
            made.append(data.shaped(data.axis, piece))
            continue
        assert data is not None
        content = None
        if data.content is not None and len(shape) == 1 and start is not None and one.known is not None:
            content = data.content[start : start + one.known]
            start += one.known
        elif data.counts_rows:
            raise Ends("it works with the number of rows")
        made.append(Same(piece, content))
    return made


def pad(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Pad(data, pads, value, axes)."""
    data = given[0]
    shape = shape_of(data)
    if node.has("pads") or node.has("paddings"):
        pads: Sequence[Dim] = [size(one) for one in node.ints("pads") or node.ints("paddings") or []]
    else:
        pads = content_of(given[1], "pads")
        the_same(given[1], "padding")
    the_same(given[2] if len(given) > 2 else None, "value")
    axes = list(range(len(shape)))
    if len(given) > 3 and given[3] is not None:
        axes = [at(axis, len(shape)) for axis in numbers_of(given[3], "axes")]
    if len(pads) != 2 * len(axes):
        raise Ends("its pads are not known")
    made = list(shape)
    for i, axis in enumerate(axes):
        before, behind = pads[i], pads[i + len(axes)]
        if before == behind == size(0):
            continue
        if isinstance(data, Rows) and axis == data.axis:
            raise Ends("it adds places before or behind the rows")
        numbers = (shape[axis].known, before.known, behind.known)
        known = [number for number in numbers if number is not None]
        made[axis] = size(sum(known)) if len(known) == 3 else unknown()
    if isinstance(data, Rows):
        return [data.shaped(data.axis, tuple(made))]
    return [Same(tuple(made))]


def channels_first_only(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """DepthToSpace and SpaceToDepth: within each [channels, height, width]."""
    data = given[0]
    shape = shape_of(data)
    if isinstance(data, Rows):
        if data.axis:
            raise Ends("rows lie on an axis that it folds")
        return [data.shaped(0, (shape[0], *(unknown() for _ in shape[1:])))]
    return [Same((shape[0], *(unknown() for _ in shape[1:])))]


RULES = {
    ("", "Reshape"): reshape,
    ("", "Flatten"): flatten,
    ("", "Transpose"): transpose,
    ("", "Squeeze"): squeeze,
    ("", "Unsqueeze"): unsqueeze,
    ("", "Expand"): expand,
    ("", "Tile"): tile,
    ("", "Concat"): concat,
    ("", "Split"): split,
    ("", "Pad"): pad,
    ("", "DepthToSpace"): channels_first_only,
    ("", "SpaceToDepth"): channels_first_only,
}
