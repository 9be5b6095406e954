"""Operators on each element of one tensor, or of several that are broadcast to one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from beamsplit.models.graph.operators import BROADCAST, UNARY
from beamsplit.models.independence.dims import ONE, Dim, product, quotient, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, Shape, made_of, shape_of
from beamsplit.models.independence.reading import Node


def unary(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """One tensor, as it lies."""
    data = _first(given)
    others = [one for one in given[1:] if one is not None]
    if any(isinstance(one, Rows) or one.counts_rows for one in others):
        return broadcast(node, given)
    if isinstance(data, Same) and data.content is not None:
        if node.op in ("Identity", "Floor", "Ceil", "Round") or (node.op == "Cast" and node.whole("to") in WIDE):
            return [data]
        if data.counts_rows:
            raise Ends("it works with the number of rows")
        return [Same(data.shape)]
    return [data]


WIDE = (1, 6, 7, 11, 12, 13)
"""Element types that hold any size: float32, int32, int64, double, uint32, uint64."""


def _first(given: Sequence[Given | None]) -> Given:
    if not given or given[0] is None:
        raise Ends("its input is absent")
    return given[0]


def broadcast(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Several tensors, each element with those that stand in its place."""
    present = [one for one in given if one is not None]
    if all(isinstance(one, Same) for one in present):
        made = _computed(node, present)
        if made is not None:
            return [made]
    return [joined(present)]


def joined(present: Sequence[Given]) -> Given:
    """How tensors lie that are broadcast to one shape.

    Raises:
        Ends: rows of one stand beside rows of another, or beside what only happens to be as long.
    """
    if any(isinstance(one, Same) and one.counts_rows for one in present):
        raise Ends("it works with the number of rows")
    divided = [one for one in present if isinstance(one, Rows)]
    shape = broadcast_shape([shape_of(one) for one in present], allow_rows=bool(divided))
    if not divided:
        return Same(shape)
    first = divided[0]
    behind = len(first.shape) - first.axis
    for one in divided[1:]:
        if len(one.shape) - one.axis != behind:
            raise Ends("rows of one tensor stand beside other axes of another")
        if (one.outer, one.inner) != (first.outer, first.inner):
            raise Ends("rows are folded with other axes in unlike ways")
    for each in present:
        if isinstance(each, Same):
            own = shape_of(each)
            if len(own) >= behind and own[-behind] != ONE:
                raise Ends("a tensor that is no row's has more than one place along the rows")
    return made_of(shape, len(shape) - behind, first.outer, first.inner)


def broadcast_shape(shapes: Sequence[Shape], allow_rows: bool = False) -> Shape:
    """The shape that tensors of these shapes are broadcast to."""
    axes = max((len(shape) for shape in shapes), default=0)
    made = []
    for behind in range(axes, 0, -1):
        dims = {shape[-behind] for shape in shapes if len(shape) >= behind} - {ONE}
        known = {dim for dim in dims if dim.known is not None}
        counted = {dim for dim in dims if dim.rows}
        if not dims:
            made.append(ONE)
        elif len(dims) == 1:
            made.append(dims.pop())
        elif counted:
            if len(counted) > 1 or not allow_rows or dims != counted:
                raise Ends("the number of rows stands beside another size")
            made.append(counted.pop())
        elif len(known) == 1:
            made.append(known.pop())
        else:
            made.append(unknown())
    return tuple(made)


def _computed(node: Node, present: Sequence[Given]) -> Same | None:
    """Arithmetic with sizes, number by number; None where nothing is known of them."""
    contents = [one.content for one in present if isinstance(one, Same)]
    if any(content is None for content in contents):
        return None
    known = [content for content in contents if content is not None]
    longest = max(len(content) for content in known)
    if any(len(content) not in (1, longest) for content in known):
        return None
    shape = broadcast_shape([shape_of(one) for one in present])
    if len(shape) > 1:
        return None
    act = _ARITHMETIC.get(node.op)
    made = []
    for i in range(longest):
        terms = [content[i] if len(content) > 1 else content[0] for content in known]
        one = act(terms) if act is not None else None
        if one is None:
            if any(term.rows for term in terms):
                raise Ends("it works with the number of rows")
            one = unknown()
        made.append(one)
    return Same(shape, tuple(made))


def _sum(sign: int) -> Callable[[list[Dim]], Dim | None]:
    def act(terms: list[Dim]) -> Dim | None:
        first, *rest = terms
        total = first
        for term in rest:
            if term == size(0):
                continue
            if total.known is None or term.known is None:
                if sign > 0 and total == size(0):
                    total = term
                    continue
                if (total.rows, total.unknown) != (term.rows, term.unknown):
                    return None
                # 3 x rows + rows: as many of the same.
                left = total.factor + sign * term.factor
                total = size(0) if not left else Dim(total.rows, left, total.unknown)
                continue
            total = size(total.known + sign * term.known)
        return total

    return act


def _divided(terms: list[Dim]) -> Dim | None:
    if len(terms) != 2:
        return None
    a, b = terms
    # Of whole numbers the rest would be dropped, of others not: only what divides is known.
    return quotient(a, b)


def _equal(terms: list[Dim]) -> Dim | None:
    a, b = terms
    if a.known is not None and b.known is not None:
        return size(int(a.known == b.known))
    if a == b:
        return size(1)
    for one, other in ((a, b), (b, a)):
        # No size is below 0.
        if one.known is not None and one.known < 0 and other.known is None and other.factor > 0:
            return size(0)
    return None


def _chosen(terms: list[Dim]) -> Dim | None:
    condition, yes, no = terms
    if yes == no:
        return yes
    return None if condition.known is None else yes if condition.known else no


def _extreme(choose: Callable[[list[int]], int]) -> Callable[[list[Dim]], Dim | None]:
    def act(terms: list[Dim]) -> Dim | None:
        if all(term == terms[0] for term in terms):
            return terms[0]
        known = [term.known for term in terms if term.known is not None]
        return size(choose(known)) if len(known) == len(terms) else None

    return act


_ARITHMETIC: dict[str, Callable[[list[Dim]], Dim | None]] = {
    "Add": _sum(1),
    "Sub": _sum(-1),
    "Mul": product,
    "Div": _divided,
    "Equal": _equal,
    "Where": _chosen,
    "Max": _extreme(max),
    "Min": _extreme(min),
}


def dropout(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Dropout: nothing, unless it is told to train."""
    if node.opset < 7 and not node.whole("is_test"):
        raise Ends("it is in training mode")
    training = given[2] if len(given) > 2 else None
    if training is not None and not (isinstance(training, Same) and training.content == (size(0),)):
        raise Ends("it is, or may be, in training mode")
    data = _first(given)
    return [data, data if isinstance(data, Rows) else Same(data.shape)]


def random_like(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Numbers drawn in the shape of a tensor: what a row draws has to do with no other row."""
    data = _first(given)
    return [data if isinstance(data, Rows) else Same(data.shape)]


def one_hot(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """OneHot(indices, depth, values): an axis more."""
    indices = _first(given)
    if any(isinstance(one, Rows) or (one is not None and one.counts_rows) for one in given[1:]):
        raise Ends("its depth or values depend on the rows")
    shape = shape_of(indices)
    axis = node.whole("axis", -1)
    axis = axis + len(shape) + 1 if axis < 0 else axis
    depth = given[1]
    known = depth.content[0] if isinstance(depth, Same) and depth.content else unknown()
    made = (*shape[:axis], known, *shape[axis:])
    if isinstance(indices, Rows):
        return [indices.shaped(indices.axis + (axis <= indices.axis), made)]
    return [Same(made)]


def cast_like(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """CastLike: of the second tensor only the type counts."""
    data = _first(given)
    if isinstance(data, Same) and data.counts_rows:
        raise Ends("it works with the number of rows")
    return [data if isinstance(data, Rows) else Same(data.shape)]


_UNARY_TOO = (
    "Acosh", "Asinh", "Atanh", "Cosh", "BitwiseNot", "Shrink", "RegexFullMatch", "IsNaN", "BitCast",
)  # fmt: skip
_BROADCAST_TOO = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "StringConcat")
_FUSED_UNARY = ("Gelu", "QuickGelu", "FastGelu", "BiasGelu", "ScaledTanh", "ParametricSoftplus", "Affine", "Silu")

RULES = {
    **{("", op): unary for op in (*UNARY, *_UNARY_TOO)},
    **{("", op): broadcast for op in (*BROADCAST, *_BROADCAST_TOO)},
    **{("com.microsoft", op): broadcast for op in _FUSED_UNARY},
    ("", "CastLike"): cast_like,
    ("", "Dropout"): dropout,
    ("", "RandomNormalLike"): random_like,
    ("", "RandomUniformLike"): random_like,
    ("", "Bernoulli"): random_like,
    ("", "OneHot"): one_hot,
}
