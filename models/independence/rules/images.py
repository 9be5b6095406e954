"""Convolutions, pooling and resizing: [rows, channels, ...]."""

from __future__ import annotations

import math
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
    numbers_of,
    shape_of,
    the_same,
)
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules.elementwise import joined


def _kept(data: Given | None, made: Shape, axes: Sequence[int] = (0,)) -> Given:
    """The output, with rows where they were if they lie on one of these axes."""
    if not isinstance(data, Rows):
        return Same(made)
    if data.axis not in axes:
        raise Ends("rows lie on an axis that it works along")
    return data.shaped(data.axis, made)


def _windows(node: Node, lengths: Sequence[Dim], kernel: Sequence[int] | None) -> Shape:
    """Lengths after sliding a window over them."""
    known = [one.known for one in lengths]
    if kernel is None:
        return tuple(unknown() for _ in lengths)
    count = len(lengths)
    strides, dilations = node.ints("strides") or [1] * count, node.ints("dilations") or [1] * count
    pads, auto = node.ints("pads") or [0] * (2 * count), node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == count or len(pads) != 2 * count:
        return tuple(unknown() for _ in lengths)
    made = []
    for i, length in enumerate(known):
        if length is None:
            made.append(unknown())
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            made.append(size(math.ceil(length / strides[i])))
        else:
            padded = length + (pads[i] + pads[i + count] if auto != "VALID" else 0)
            steps = (padded - dilations[i] * (kernel[i] - 1) - 1) / strides[i]
            if node.whole("ceil_mode") and steps != int(steps):
                # The last window is left out where it would begin in the padding: not worth following.
                made.append(unknown())
            else:
                made.append(size(math.floor(steps) + 1))
    return tuple(made)


def conv(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Conv and ConvInteger, FusedConv with something added: (data, weight, bias or zero points, ...)."""
    data, weight = given[0], given[1]
    for one in given[1:3]:
        the_same(one, "weight")
    extra = given[3] if len(given) > 3 else None
    made = _convolved(node, data, weight)
    if extra is None or node.op == "ConvInteger":
        the_same(extra, "zero point")
        return [made]
    return [joined([made, extra])]


def _convolved(node: Node, data: Given | None, weight: Given | None) -> Given:
    shape, kernel = shape_of(data), shape_of(weight)
    known = [dim.known for dim in kernel[2:]]
    if node.whole("channels_last"):
        return _kept(data, (shape[0], *(unknown() for _ in shape[1:])))
    window = node.ints("kernel_shape") or ([one or 0 for one in known] if None not in known else None)
    return _kept(data, (shape[0], kernel[0], *_windows(node, shape[2:], window)))


def quantised_conv(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearConv(x, scale, zero, w, scale, zero, y scale, y zero, bias)."""
    for one in given[1:]:
        the_same(one, "weight, scale or zero point")
    return [_convolved(node, given[0], given[3])]


def transposed_conv(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ConvTranspose."""
    for one in given[1:]:
        the_same(one, "weight")
    shape, kernel = shape_of(given[0]), shape_of(given[1])
    channels = product([kernel[1], size(node.whole("group", 1))])
    return [_kept(given[0], (shape[0], channels, *(unknown() for _ in shape[2:])))]


def deformable_conv(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """DeformConv(x, w, offset, bias, mask)."""
    the_same(given[1], "weight")
    the_same(given[3] if len(given) > 3 else None, "bias")
    data = given[0]
    for one in (given[2], given[4] if len(given) > 4 else None):
        if one is not None and isinstance(one, Rows) != isinstance(data, Rows):
            raise Ends("rows stand beside what is no row's")
        if isinstance(one, Rows) and isinstance(data, Rows) and (one.axis or one.inner != data.inner):
            raise Ends("rows lie on unlike axes")
    shape = shape_of(data)
    return [_kept(data, (shape[0], shape_of(given[1])[0], *(unknown() for _ in shape[2:])))]


def pool(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MaxPool, AveragePool and LpPool; the places of maxima are counted over all rows."""
    data = given[0]
    shape = shape_of(data)
    if node.whole("channels_last"):
        return [_kept(data, (shape[0], *(unknown() for _ in shape[1:])))]
    made = _kept(data, (*shape[:2], *_windows(node, shape[2:], node.ints("kernel_shape"))), (0, 1))
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Ends("it tells places counted over all rows")
    return [made]


def global_pool(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """GlobalAveragePool and its kin."""
    data = given[0]
    for one in given[1:]:
        the_same(one, "scale or zero point")
    shape = shape_of(data)
    if node.whole("channels_last"):
        return [_kept(data, (shape[0], *(ONE for _ in shape[1:-1]), shape[-1]))]
    return [_kept(data, (*shape[:2], *(ONE for _ in shape[2:])), (0, 1))]


def quantised_pool(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearAveragePool(x, scale, zero, y scale, y zero)."""
    for one in given[1:]:
        the_same(one, "scale or zero point")
    return pool(node, given[:1])


def resize(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Resize(x, roi, scales, sizes) and Upsample: the rows must stay as many."""
    data = given[0]
    shape = shape_of(data)
    for one in given[1:3]:
        the_same(one, "scale")
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Ends("it fits all axes into given sizes")
    axes = node.ints("axes") or list(range(len(shape)))
    axes = [at(axis, len(shape)) for axis in axes]
    made = [unknown() for _ in shape]
    for axis in set(range(len(shape))) - set(axes):
        made[axis] = shape[axis]
    if not isinstance(data, Rows):
        the_same(given[3] if len(given) > 3 else None, "size")
        return [Same(tuple(made))]
    made[data.axis] = shape[data.axis]
    if data.axis in axes:
        place = axes.index(data.axis)
        sizes = given[3] if len(given) > 3 else None
        if sizes is not None:
            wanted = content_of(sizes, "size")
            if len(wanted) != len(axes) or wanted[place] != shape[data.axis]:
                raise Ends("it does not keep as many rows as there are")
        else:
            scales = _scales(node, given)
            if len(scales) != len(axes) or scales[place] != ONE:
                raise Ends("it stretches the axis of the rows, or may")
        for axis, dim in zip(axes, [] if sizes is None else content_of(sizes, "size"), strict=False):
            made[axis] = dim
    if any(dim.rows for axis, dim in enumerate(made) if axis != data.axis):
        raise Ends("it makes an axis as long as there are rows")
    return [data.shaped(data.axis, tuple(made))]


def _scales(node: Node, given: Sequence[Given | None]) -> Sequence[Dim]:
    if node.has("scales"):
        return [size(int(one)) if one == int(one) else unknown() for one in node.attributes["scales"].reals]
    scales = given[1] if node.op == "Upsample" or node.opset < 11 else given[2] if len(given) > 2 else None
    return content_of(scales, "scale")


def sampled(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """GridSample(x, grid)."""
    data, grid = given[0], given[1]
    shape = shape_of(data)
    places = shape_of(grid)
    if isinstance(data, Rows) != isinstance(grid, Rows):
        raise Ends("rows stand beside what is no row's")
    if isinstance(data, Rows) and isinstance(grid, Rows) and (grid.axis, grid.inner) != (0, data.inner):
        raise Ends("rows lie on unlike axes")
    return [_kept(data, (*shape[:2], *places[1:-1]))]


def affine_grid(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """AffineGrid(theta, size)."""
    theta = given[0]
    wanted = content_of(given[1], "size")
    made = (*wanted[:1], *wanted[2:], size(len(wanted) - 2))
    if isinstance(theta, Rows) and (theta.axis or made[0] != theta.shape[0]):
        raise Ends("it does not keep as many rows as there are")
    if not isinstance(theta, Rows) and any(dim.rows for dim in made):
        raise Ends("the number of rows stands beside another size")
    return [_kept(theta, made)]


def cropped(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """CenterCropPad along axes that are not the rows'."""
    data = given[0]
    shape = shape_of(data)
    axes = [at(axis, len(shape)) for axis in node.ints("axes") or list(range(len(shape)))]
    sizes = numbers_of(given[1], "size")
    if len(sizes) != len(axes):
        raise Ends("it has not one size for each of its axes")
    made = list(shape)
    for axis, one in zip(axes, sizes, strict=True):
        made[axis] = size(one)
    return [_kept(data, tuple(made), [axis for axis in range(len(shape)) if axis not in axes])]


RULES = {
    ("", "Conv"): conv,
    ("", "ConvInteger"): conv,
    ("", "ConvTranspose"): transposed_conv,
    ("", "DeformConv"): deformable_conv,
    ("", "QLinearConv"): quantised_conv,
    ("", "MaxPool"): pool,
    ("", "AveragePool"): pool,
    ("", "LpPool"): pool,
    ("", "GlobalAveragePool"): global_pool,
    ("", "GlobalMaxPool"): global_pool,
    ("", "GlobalLpPool"): global_pool,
    ("", "Resize"): resize,
    ("", "Upsample"): resize,
    ("", "GridSample"): sampled,
    ("", "AffineGrid"): affine_grid,
    ("", "CenterCropPad"): cropped,
    ("com.microsoft", "FusedConv"): conv,
    ("com.microsoft", "QLinearConv"): quantised_conv,
    ("com.microsoft", "QLinearGlobalAveragePool"): global_pool,
    ("com.microsoft", "QLinearAveragePool"): quantised_pool,
}
