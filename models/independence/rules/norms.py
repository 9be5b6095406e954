"""Operators along some axes: norms, softmax, reductions, running sums, the largest."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import ONE, Dim, product, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, at, numbers_of, shape_of, the_same
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules.elementwise import joined


def _apart(data: Given | None, axes: Sequence[int]) -> None:
    """Raise where it works along the rows."""
    if isinstance(data, Rows) and data.axis in axes:
        raise Ends("it works along the axis of the rows")
    if isinstance(data, Same) and data.counts_rows:
        raise Ends("it works with the number of rows")


def along(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """One axis, as the attribute `axis` or the second input says; the shape stays."""
    data = given[0]
    axes = len(shape_of(data))
    told = given[1] if len(given) > 1 else None
    axis = node.whole("axis", -1) if told is None else numbers_of(told, "axis")[0]
    assert data is not None
    _apart(data, [at(axis, axes)])
    return [data if isinstance(data, Rows) else Same(data.shape)]


def softmax(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Softmax, LogSoftmax and Hardmax: before opset 13 over all axes from the given one on."""
    data = given[0]
    axes = len(shape_of(data))
    assert data is not None
    if (node.whole("opset", 13) if node.domain else node.opset) >= 13:
        axis = at(node.whole("axis", -1), axes)
        _apart(data, [axis])
    else:
        _apart(data, range(at(node.whole("axis", 1), axes), axes))
    for one in given[1:]:
        the_same(one, "scale or zero point")
    return [data if isinstance(data, Rows) else Same(data.shape)]


def reduce(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ReduceSum, ReduceMax, ...: axes as an attribute or an input."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    if len(given) > 1 and given[1] is not None:
        axes: list[int] | None = numbers_of(given[1], "axes")
    else:
        axes = node.ints("axes")
    if not axes:
        if node.whole("noop_with_empty_axes"):
            return [data]
        axes = list(range(len(shape)))
    axes = [at(axis, len(shape)) for axis in axes]
    if node.op == "ReduceProd" and isinstance(data, Same) and data.content is not None:
        made = (ONE,) if node.whole("keepdims", 1) else ()
        return [Same(made, (product(data.content),))]
    return [_reduced(node, data, axes)]


def _reduced(node: Node, data: Given, axes: Sequence[int]) -> Given:
    _apart(data, axes)
    shape = shape_of(data)
    if node.whole("keepdims", 1):
        made = tuple(ONE if axis in axes else dim for axis, dim in enumerate(shape))
        return data.shaped(data.axis, made) if isinstance(data, Rows) else Same(made)
    made = tuple(dim for axis, dim in enumerate(shape) if axis not in axes)
    if isinstance(data, Rows):
        return data.shaped(data.axis - sum(axis < data.axis for axis in axes), made)
    return Same(made)


def arg(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ArgMax and ArgMin."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    return [_reduced(node, data, [at(node.whole("axis"), len(shape))])]


def top_k(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """TopK(x, k)."""
    data = given[0]
    shape = shape_of(data)
    axis = at(node.whole("axis", -1), len(shape))
    _apart(data, [axis])
    wanted = given[1] if len(given) > 1 else None
    the_same(wanted, "k")
    known: Dim = unknown()
    if isinstance(wanted, Same) and wanted.content:
        known = wanted.content[0]
    elif node.has("k"):
        known = size(node.whole("k"))
    made = (*shape[:axis], known, *shape[axis + 1 :])
    one: Given = data.shaped(data.axis, made) if isinstance(data, Rows) else Same(made)
    return [one, one]


def layer_norm(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """LayerNormalization, RMSNormalization and their kin: over all axes from one on."""
    data = given[0]
    shape = shape_of(data)
    axis = at(node.whole("axis", -1), len(shape))
    assert data is not None
    _apart(data, range(axis, len(shape)))
    for one in given[1:]:
        the_same(one, "scale or bias")
        own = () if one is None else shape_of(one)
        if isinstance(data, Rows) and len(own) >= len(shape) - data.axis and own[data.axis - len(shape)] != ONE:
            raise Ends("its scale has more than one place along the rows")
    kept: Given = data if isinstance(data, Rows) else Same(shape)
    small = (*shape[:axis], *(ONE for _ in shape[axis:]))
    statistic: Given = data.shaped(data.axis, small) if isinstance(data, Rows) else Same(small)
    return [kept, statistic, statistic]


def skip_layer_norm(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """SkipLayerNormalization(x, skip, gamma, beta, bias) and its kin: (y, mean, deviation, sum of x and skip)."""
    total = joined([one for one in given[:2] if one is not None])
    for one in given[2:]:
        the_same(one, "scale or bias")
        if one is not None and len(shape_of(one)) > 1:
            raise Ends("its scale has more than one axis")
    shape = shape_of(total)
    _apart(total, [len(shape) - 1])
    small = (*shape[:-1], ONE)
    statistic: Given = total.shaped(total.axis, small) if isinstance(total, Rows) else Same(small)
    return [total, statistic, statistic, total]


def batch_norm(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """BatchNormalization as it is used after training."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    training = node.whole("training_mode") or (node.opset < 14 and len([one for one in node.outputs if one]) > 1)
    if training or (node.opset < 7 and not node.whole("is_test")) or not node.whole("spatial", 1):
        raise Ends("it is in training mode, or may be: it takes the mean over the rows")
    _apart(data, [1] if len(shape) > 1 else [0])
    for one in given[1:]:
        the_same(one, "mean or scale")
    return [data if isinstance(data, Rows) else Same(shape)]


def by_instance(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """InstanceNormalization, GroupNormalization, LRN: within each [channels, ...]."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    for one in given[1:]:
        the_same(one, "scale or bias")
    _apart(data, range(1, len(shape)))
    return [data if isinstance(data, Rows) else Same(shape)]


def mean_variance(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MeanVarianceNormalization: over rows, height and width unless told otherwise."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    given_axes = node.ints("axes")
    _apart(data, [at(axis, len(shape)) for axis in (given_axes if given_axes is not None else [0, 2, 3])])
    return [data if isinstance(data, Rows) else Same(shape)]


def triangle(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Trilu: within the last two axes."""
    data = given[0]
    shape = shape_of(data)
    assert data is not None
    the_same(given[1] if len(given) > 1 else None, "k")
    _apart(data, [len(shape) - 2, len(shape) - 1])
    return [data if isinstance(data, Rows) else Same(shape)]


def reverse_sequence(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """ReverseSequence(x, lengths)."""
    data, lengths = given[0], given[1]
    shape = shape_of(data)
    assert data is not None
    batch = node.whole("batch_axis", 1)
    if isinstance(data, Rows):
        if data.axis != batch or not isinstance(lengths, Rows) or lengths.axis or lengths.inner != data.inner:
            raise Ends("rows stand beside what is no row's")
        return [data]
    the_same(lengths, "length")
    return [Same(shape)]


_REDUCE = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_MS = "com.microsoft"

RULES = {
    **{("", op): reduce for op in _REDUCE},
    ("", "ArgMax"): arg,
    ("", "ArgMin"): arg,
    ("", "CumSum"): along,
    ("", "CumProd"): along,
    ("", "LpNormalization"): along,
    ("", "TopK"): top_k,
    ("", "Softmax"): softmax,
    ("", "LogSoftmax"): softmax,
    ("", "Hardmax"): softmax,
    ("", "LayerNormalization"): layer_norm,
    ("", "RMSNormalization"): layer_norm,
    ("", "SimplifiedLayerNormalization"): layer_norm,
    ("", "BatchNormalization"): batch_norm,
    ("", "InstanceNormalization"): by_instance,
    ("", "GroupNormalization"): by_instance,
    ("", "LRN"): by_instance,
    ("", "MeanVarianceNormalization"): mean_variance,
    ("", "Trilu"): triangle,
    ("", "ReverseSequence"): reverse_sequence,
    (_MS, "GroupNorm"): by_instance,
    (_MS, "LayerNormalization"): layer_norm,
    (_MS, "SimplifiedLayerNormalization"): layer_norm,
    (_MS, "SkipLayerNormalization"): skip_layer_norm,
    (_MS, "SkipSimplifiedLayerNormalization"): skip_layer_norm,
    (_MS, "Trilu"): triangle,
}
