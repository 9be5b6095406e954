"""Rules are driven with lists: how the inputs of one node lie, and how its outputs do, or why the proof ends there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beamsplit.models.independence.dims import ONE, ROWS, Dim, product, size
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, rows_on
from beamsplit.models.independence.reading import Attribute, Node
from beamsplit.models.independence.rules import RULES

MS = "com.microsoft"


def node(op: str, **attributes: object) -> Node:
    """`MatMul` or `domain.MatMul`, of opset 17, with whole numbers, lists of them and texts as attributes."""
    domain, _, name = op.rpartition(".")
    own = []
    for key, value in attributes.items():
        own.append(
            Attribute(key, ints=value)
            if isinstance(value, list)
            else Attribute(key, text=value)
            if isinstance(value, str)
            else Attribute(key, number=value)
        )
    return Node(name, domain, name, outputs=["y"], own=own, opset=17)


def same(*dims: int) -> Same:
    return Same(tuple(map(size, dims)))


def numbers(*content: int | Dim) -> Same:
    return Same((size(len(content)),), tuple(one if isinstance(one, Dim) else size(one) for one in content))


def rows(*dims: int, axis: int = 0) -> Rows:
    """[rows, *dims], or with the rows on another axis."""
    sizes = tuple(map(size, dims))
    return rows_on(axis, (*sizes[:axis], ROWS, *sizes[axis:]))


def ruled(one: Node, *given: Given | None) -> list[Given]:
    return RULES[one.domain, one.op](one, given)


S = same()
TABLE, STEPS, IMAGE = rows(4), rows(5, 4), rows(3, 8, 8)
SCALES = "scale or zero point"
BESIDE = "scale, zero point or bias"
NUMBERING = "start, limit or step, which numbers the rows,"

SHARED: dict[str, tuple[Node, list[Given | None], dict[str, tuple[int, ...]]]] = {
    "pad": (node("Pad"), [TABLE, numbers(0, 1, 0, 1), S], {"padding": (1,), "value": (2,)}),
    "pad of what is no row's": (node("Pad"), [same(2, 4), numbers(0, 1, 0, 1), S], {"padding": (1,), "value": (2,)}),
    "gather from a weight": (node("Gather"), [same(7, 4), same(3)], {"place": (1,)}),
    "gather columns": (node("Gather", axis=1), [TABLE, same(3)], {"place": (1,)}),
    "gather elements": (node("GatherElements"), [same(3, 4), same(3, 4)], {"data": (0,), "place": (1,)}),
    "gather slices": (node("GatherND"), [same(3, 4), same(2, 1)], {"data": (0,), "place": (1,)}),
    "each row gathers slices": (node("GatherND"), [same(3, 4), rows(1)], {"data": (0,)}),
    "scatter": (node("ScatterElements"), [same(3, 4), same(2, 4), same(2, 4)], {"data": (0, 1, 2)}),
    "compress": (node("Compress", axis=1), [TABLE, same(4)], {"condition": (1,)}),
    "places that are not zero": (node("NonZero"), [same(4)], {"data": (0,)}),
    "columns of a table": (node("ai.onnx.ml.ArrayFeatureExtractor"), [TABLE, same(2)], {"place": (1,)}),
    "columns of a weight": (
        node("ai.onnx.ml.ArrayFeatureExtractor"), [same(3, 4), same(2)], {"data": (0,), "place": (1,)}
    ),
    "conv": (node("Conv"), [IMAGE, same(2, 3, 3, 3), same(2)], {"weight": (1, 2)}),
    "conv of whole numbers": (
        node("ConvInteger"), [IMAGE, same(2, 3, 3, 3), S, S], {"weight": (1, 2), "zero point": (3,)}
    ),
    "quantised conv": (
        node("QLinearConv"), [IMAGE, S, S, same(2, 3, 3, 3), S, S, S, S, same(2)],
        {"weight, scale or zero point": (1, 2, 3, 4, 5, 6, 7, 8)},
    ),
    "transposed conv": (node("ConvTranspose"), [IMAGE, same(3, 2, 3, 3), same(2)], {"weight": (1, 2)}),
    "deformable conv": (
        node("DeformConv"), [IMAGE, same(2, 3, 3, 3), rows(18, 6, 6), same(2), rows(9, 6, 6)],
        {"weight": (1,), "bias": (3,)},
    ),
    "quantised global pool": (node(f"{MS}.QLinearGlobalAveragePool"), [IMAGE, S, S, S, S], {SCALES: (1, 2, 3, 4)}),
    "quantised pool": (
        node(f"{MS}.QLinearAveragePool", kernel_shape=[2, 2]), [IMAGE, S, S, S, S], {SCALES: (1, 2, 3, 4)}
    ),
    "resize": (node("Resize"), [IMAGE, numbers(1), numbers(1, 1, 2, 2)], {"scale": (1, 2)}),
    "resize of what is no row's": (node("Resize"), [same(1, 3, 8, 8), None, None, numbers(1, 3, 4, 4)], {"size": (3,)}),
    "range": (node("Range"), [Same((), (size(0),)), Same((), (size(4),)), Same((), (ONE,))], {NUMBERING: (0, 1, 2)}),
    "distances": (node(f"{MS}.CDist"), [TABLE, same(5, 4)], {"table": (1,)}),
    "distances from": (node(f"{MS}.CDist"), [same(5, 4), TABLE], {"table": (0,)}),
    "whole numbers": (node("MatMulInteger"), [TABLE, same(4, 3), S, S], {BESIDE: (2, 3)}),
    "whole numbers to others": (
        node(f"{MS}.MatMulIntegerToFloat"), [TABLE, same(4, 3), S, S, S, S, same(3)],
        {"weight": (1,), BESIDE: (2, 3, 4, 5, 6)},
    ),
    "scales set at run": (node(f"{MS}.DynamicQuantizeMatMul"), [TABLE, same(4, 3), S, S, S], {BESIDE: (2, 3, 4)}),
    "quantised product": (
        node("QLinearMatMul"), [TABLE, S, S, same(4, 3), S, S, S, S], {BESIDE: (1, 2, 4, 5, 6, 7)}
    ),
    "quantised gemm": (
        node(f"{MS}.QGemm"), [TABLE, S, S, same(4, 3), S, S, same(3), S, S], {BESIDE: (1, 2, 4, 5, 7, 8)}
    ),
    "blocks of bits": (node(f"{MS}.MatMulNBits", N=3), [TABLE, same(3, 1, 2), same(3), same(3)], {"weight": (1, 2, 3)}),
    "einsum": (node("Einsum", equation="nd,de->ne"), [TABLE, same(4, 3)], {"factor": (1,)}),
    "quantised softmax": (node(f"{MS}.QLinearSoftmax"), [TABLE, S, S, S, S], {SCALES: (1, 2, 3, 4)}),
    "top k": (node("TopK"), [TABLE, numbers(2)], {"k": (1,)}),
    "layer norm": (node("LayerNormalization"), [STEPS, same(4), same(4)], {"scale or bias": (1, 2)}),
    "skip layer norm": (
        node(f"{MS}.SkipLayerNormalization"), [STEPS, STEPS, same(4), same(4), same(4)], {"scale or bias": (2, 3, 4)}
    ),
    "batch norm": (
        node("BatchNormalization"), [IMAGE, same(3), same(3), same(3), same(3)], {"mean or scale": (1, 2, 3, 4)}
    ),
    "instance norm": (node("InstanceNormalization"), [IMAGE, same(3), same(3)], {"scale or bias": (1, 2)}),
    "triangle": (node("Trilu"), [STEPS, S], {"k": (1,)}),
    "reversed steps": (node("ReverseSequence"), [same(5, 2, 4), same(2)], {"length": (1,)}),
    "to few bits": (node("QuantizeLinear"), [TABLE, S, S], {SCALES: (1, 2)}),
    "quantised sum": (node(f"{MS}.QLinearAdd"), [TABLE, S, S, TABLE, S, S, S, S], {SCALES: (1, 2, 4, 5, 6, 7)}),
    "quantised sigmoid": (node(f"{MS}.QLinearSigmoid"), [TABLE, S, S, S, S], {SCALES: (1, 2, 3, 4)}),
    "quantised concat": (
        node(f"{MS}.QLinearConcat", axis=1), [S, S, TABLE, S, S, TABLE, S, S], {SCALES: (0, 1, 3, 4, 6, 7)}
    ),
    "packed attention": (
        node(f"{MS}.Attention"), [STEPS, same(4, 12), same(12), None, None, same(1, 1, 5, 5), S],
        {"weight": (1, 2, 6), "mask": (5,)},
    ),
    "quantised attention": (
        node(f"{MS}.QAttention"), [STEPS, same(4, 12), same(12), S, S, None, S, S], {"weight": (1, 2, 3, 4, 6, 7)}
    ),
    "multi-head attention": (
        node(f"{MS}.MultiHeadAttention"), [STEPS, STEPS, STEPS, same(12), None, same(1, 1, 5, 5)],
        {"weight": (3,), "mask": (5,)},
    ),
    "grouped queries": (
        node(f"{MS}.GroupQueryAttention"),
        [STEPS, STEPS, STEPS, None, None, rows(), S, same(9, 2), same(9, 2), None, same(1, 1, 5, 5), same(2), S, S],
        {"weight": (6, 7, 8, 11, 12, 13), "mask": (10,)},
    ),
    "attention": (node("Attention"), [STEPS, STEPS, STEPS, same(5, 5)], {"mask": (3,)}),
    "rotary": (node("RotaryEmbedding"), [STEPS, same(9, 2), same(9, 2), rows(5)], {"angles": (1, 2)}),
    "rotary of ONNX Runtime": (
        node(f"{MS}.RotaryEmbedding"), [STEPS, S, same(9, 2), same(9, 2)], {"positions": (1,), "angles": (2, 3)}
    ),
    "embedding and norm": (
        node(f"{MS}.EmbedLayerNormalization"), [rows(5), None, same(9, 4), same(9, 4), None, same(4), same(4)],
        {"weight": (2, 3, 5, 6)},
    ),
    "lstm": (
        node("LSTM"), [rows(5, 4, axis=1), same(1, 8, 4), same(1, 8, 2), same(1, 16), None, None, None, same(1, 6)],
        {"weight": (1, 2, 3, 7)},
    ),
}  # fmt: skip
"""What must be the same for all rows: a node, its inputs, and what it calls those that must be."""


@pytest.mark.parametrize("name", SHARED)
def test_inputs_that_all_rows_share_may_not_depend_on_their_number(name: str) -> None:
    one, given, shared = SHARED[name]
    ruled_or_counted(one, given)
    for what, positions in shared.items():
        for position in positions:
            counted = [*given]
            counted[position] = counting_rows(given[position])
            with pytest.raises(Ends) as end:
                ruled(one, *counted)
            assert str(end.value) == f"its {what} depends on the number of rows", position


def counting_rows(given: Given | None) -> Same:
    """The same with the number of rows as its first value."""
    assert isinstance(given, Same)
    content = given.content or (size(0),) * (given.shape[0].known or 0 if given.shape else 1)
    return replace(given, content=(ROWS, *content[1:]))


def ruled_or_counted(one: Node, given: list[Given | None]) -> None:
    """The inputs as they stand are followed."""
    if one.op == "NonZero":  # whose size is never known
        return
    assert ruled(one, *given)


N, L = ROWS, Dim(0, 1, (1,))
"""The number of rows, and a length that is not known."""
THREE_N = product([size(3), N])

ARITHMETIC = [
    ("Add", [size(2), size(3)], size(5)),
    ("Add", [N, size(0)], N),
    ("Add", [size(0), L], L),
    ("Add", [THREE_N, N], product([size(4), N])),
    ("Sub", [size(2), size(3)], size(-1)),
    ("Sub", [N, size(0)], N),
    ("Sub", [THREE_N, N], product([size(2), N])),
    ("Sub", [N, N], size(0)),
    ("Sub", [L, L], size(0)),
    ("Mul", [size(2), N], product([size(2), N])),
    ("Mul", [N, L], product([N, L])),
    ("Div", [size(6), size(3)], size(2)),
    ("Div", [THREE_N, size(3)], N),
    ("Div", [THREE_N, N], size(3)),
    ("Equal", [size(2), size(2)], size(1)),
    ("Equal", [size(2), size(3)], size(0)),
    ("Equal", [N, N], size(1)),
    ("Equal", [L, size(-1)], size(0)),
    ("Equal", [size(-1), N], size(0)),
    ("Where", [size(1), N, size(7)], N),
    ("Where", [size(0), size(7), N], N),
    ("Where", [L, N, N], N),
    ("Max", [size(2), size(3)], size(3)),
    ("Max", [N, N], N),
    ("Min", [size(2), size(3)], size(2)),
]


@pytest.mark.parametrize(("op", "terms", "expected"), ARITHMETIC)
def test_arithmetic_with_sizes(op: str, terms: list[Dim], expected: Dim) -> None:
    assert ruled(node(op), *(Same((), (term,)) for term in terms)) == [Same((), (expected,))]
    # Of lists number by number, and one number with each of a list.
    length, others = size(2), [Same((size(2),), (term, term)) for term in terms[1:]]
    assert ruled(node(op), Same((), (terms[0],)), *others) == [Same((length,), (expected, expected))]


@pytest.mark.parametrize(
    ("op", "terms"),
    [
        ("Add", [N, size(1)]),
        ("Add", [N, L]),
        ("Sub", [size(1), N]),
        ("Div", [N, size(2)]),
        ("Equal", [N, size(5)]),
        ("Where", [L, N, size(7)]),
        ("Max", [N, size(2)]),
        ("Mod", [N, size(2)]),
    ],
)
def test_what_is_no_size_any_more_ends_the_proof(op: str, terms: list[Dim]) -> None:
    with pytest.raises(Ends, match="it works with the number of rows"):
        ruled(node(op), *(Same((), (term,)) for term in terms))
