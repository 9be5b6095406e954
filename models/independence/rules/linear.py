"""Products of matrices, and those on top of them that quantised models have."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import ONE, Dim, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, made_of, shape_of, the_same
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules.elementwise import broadcast_shape, joined


def matmul(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MatMul and its integer and fused kin: [..., m, k] x [..., k, n]."""
    return [_product(given[0], given[1])]


def _product(left: Given | None, right: Given | None) -> Given:
    for one in (left, right):
        if isinstance(one, Same) and one.counts_rows:
            raise Ends("it works with the number of rows")
    a, b = shape_of(left), shape_of(right)
    assert left is not None and right is not None
    if not a or not b:
        raise Ends("it multiplies a scalar")
    # A vector is a matrix of one row, or one column, which is dropped.
    a2, b2 = (a if len(a) > 1 else (ONE, *a)), (b if len(b) > 1 else (*b, ONE))
    heads = _heads(left, right, a2, b2)
    full = (*heads[0], a2[-2], b2[-1])
    drop = ([len(full) - 2] if len(a) == 1 else []) + ([len(full) - 1] if len(b) == 1 else [])
    made = tuple(dim for axis, dim in enumerate(full) if axis not in drop)
    if heads[1] is None:
        return Same(made)
    axis, outer, inner = heads[1]
    return made_of(made, axis - sum(one < axis for one in drop), outer, inner)


def _heads(
    left: Given, right: Given, a: tuple[Dim, ...], b: tuple[Dim, ...]
) -> tuple[tuple[Dim, ...], tuple[int, Dim, Dim] | None]:
    """The axes before the matrices, and where the rows are in the product."""
    axes = max(len(a), len(b))
    if isinstance(left, Rows) and left.axis == len(left.shape) - 1:
        raise Ends("it adds up over the rows")
    if isinstance(right, Rows) and right.axis == max(0, len(right.shape) - 2):
        raise Ends("it adds up over the rows")
    on_left = isinstance(left, Rows) and left.axis == len(left.shape) - 2
    on_right = isinstance(right, Rows) and len(right.shape) > 1 and right.axis == len(right.shape) - 1
    if on_left or on_right:
        one, other, place = (left, right, axes - 2) if on_left else (right, left, axes - 1)
        assert isinstance(one, Rows)
        if not isinstance(other, Same):
            raise Ends("rows are multiplied with rows")
        return broadcast_shape([a[:-2], b[:-2]]), (place, one.outer, one.inner)
    parts: list[Given] = []
    for one, shape in ((left, a), (right, b)):
        parts.append(Rows(one.axis, shape[:-2], one.outer, one.inner) if isinstance(one, Rows) else Same(shape[:-2]))
    made = joined(parts)
    shape = shape_of(made)
    return shape, (made.axis, made.outer, made.inner) if isinstance(made, Rows) else None


def fused_matmul(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """FusedMatMul of com.microsoft: with transposed matrices."""
    if node.whole("transBatchA") or node.whole("transBatchB"):
        raise Ends("it moves the axes before the matrices")
    left, right = given[0], given[1]
    return [
        _product(_turned(left) if node.whole("transA") else left, _turned(right) if node.whole("transB") else right)
    ]


def _turned(given: Given | None) -> Given:
    shape = shape_of(given)
    if len(shape) < 2:
        raise Ends("it turns a vector")
    made = (*shape[:-2], shape[-1], shape[-2])
    if not isinstance(given, Rows):
        return Same(made)
    last = len(shape) - 1
    return given.shaped({last: last - 1, last - 1: last}.get(given.axis, given.axis), made)


def gemm(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Gemm(a, b, c)."""
    left = _turned(given[0]) if node.whole("transA") else given[0]
    right = _turned(given[1]) if node.whole("transB") else given[1]
    if len(shape_of(left)) != 2 or len(shape_of(right)) != 2:
        raise Ends("it multiplies what are no matrices")
    made = _product(left, right)
    added = given[2] if len(given) > 2 else None
    return [made if added is None else joined([made, added])]


def integer_matmul(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MatMulInteger(a, b, a zero, b zero)."""
    _shared(given[2:])
    return [_product(given[0], given[1])]


def _shared(given: Sequence[Given | None]) -> None:
    for one in given:
        the_same(one, "scale, zero point or bias")
        # One number, or one for each column of the weight: of places that are no rows'.
        if one is not None and len(shape_of(one)) > 1:
            raise Ends("it has scales on more than one axis")


def integer_to_float(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MatMulIntegerToFloat(a, b, a scale, b scale, a zero, b zero, bias)."""
    the_same(given[1], "weight")
    _left_scalars([given[2], *given[4:5]])
    _shared(given[2:])
    return [_product(given[0], given[1])]


def _left_scalars(given: Sequence[Given | None]) -> None:
    """Raise for what is quantised a row at a time: its scales would lie along the rows."""
    for one in given:
        if one is not None and shape_of(one) not in ((), (ONE,)):
            raise Ends("its data has more than one scale")


def dynamic_quantised_matmul(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """DynamicQuantizeMatMul(a, b, b scale, b zero, bias), apart from the scale that it sets."""
    _shared(given[2:])
    return [_product(given[0], given[1])]


def quantised_matmul(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QLinearMatMul(a, scale, zero, b, scale, zero, y scale, y zero)."""
    _left_scalars([given[1], given[2], given[6], given[7]])
    _shared([*given[1:3], *given[4:8]])
    return [_product(given[0], given[3])]


def quantised_gemm(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QGemm(a, scale, zero, b, scale, zero, c, y scale, y zero)."""
    _left_scalars([given[1], given[2], *given[7:9]])
    left = _turned(given[0]) if node.whole("transA") else given[0]
    right = _turned(given[3]) if node.whole("transB") else given[3]
    _shared([given[1], given[2], given[4], given[5], *given[7:9]])
    made = _product(left, right)
    added = given[6] if len(given) > 6 else None
    return [made if added is None else joined([made, added])]


def blockwise(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MatMulNBits(a, b, ...): a weight quantised in blocks."""
    data = given[0]
    for one in given[1:]:
        the_same(one, "weight")
    shape = shape_of(data)
    if not isinstance(data, Rows):
        return [Same((*shape[:-1], unknown()))]
    if data.axis == len(shape) - 1:
        raise Ends("it adds up over the rows")
    n = node.whole("N")
    return [data.shaped(data.axis, (*shape[:-1], Dim(0, n, ()) if n else unknown()))]


def einsum(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Einsum, with an arrow and without an ellipsis."""
    terms, arrow, result = node.text("equation").replace(" ", "").partition("->")
    letters = terms.split(",")
    if not arrow or "." in terms or len(letters) != len(given):
        raise Ends("its equation is not followed")
    sizes: dict[str, Dim] = {}
    rows: tuple[str, Dim, Dim] | None = None
    for term, one in zip(letters, given, strict=True):
        shape = shape_of(one)
        if len(term) != len(shape):
            raise Ends("its equation does not fit its inputs")
        for letter, dim in zip(term, shape, strict=True):
            if sizes.get(letter, ONE) == ONE:
                sizes[letter] = dim
        if isinstance(one, Rows):
            found = (term[one.axis], one.outer, one.inner)
            if rows is not None and rows != found:
                raise Ends("rows of one tensor stand beside other axes of another")
            rows = found
        else:
            the_same(one, "factor")
    if rows is None:
        return [Same(tuple(sizes[letter] for letter in result))]
    letter = rows[0]
    for term, one in zip(letters, given, strict=True):
        if term.count(letter) > 1:
            raise Ends("it takes rows by their number")
        if isinstance(one, Same) and letter in term and shape_of(one)[term.index(letter)] != ONE:
            raise Ends("a tensor that is no row's has more than one place along the rows")
    if result.count(letter) != 1:
        raise Ends("it adds up over the rows")
    return [made_of(tuple(sizes[one] for one in result), result.index(letter), rows[1], rows[2])]


RULES = {
    ("", "MatMul"): matmul,
    ("", "Gemm"): gemm,
    ("", "MatMulInteger"): integer_matmul,
    ("", "QLinearMatMul"): quantised_matmul,
    ("", "Einsum"): einsum,
    ("com.microsoft", "FusedMatMul"): fused_matmul,
    ("com.microsoft", "FusedGemm"): gemm,
    ("com.microsoft", "MatMulIntegerToFloat"): integer_to_float,
    ("com.microsoft", "DynamicQuantizeMatMul"): dynamic_quantised_matmul,
    ("com.microsoft", "QGemm"): quantised_gemm,
    ("com.microsoft", "MatMulNBits"): blockwise,
}
