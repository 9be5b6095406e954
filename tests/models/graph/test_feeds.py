"""Rows that are made up for a model without a sample."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.signature import Signature, TensorSpec


def shapes(*specs: tuple[str, tuple[int | str | None, ...] | None], **more: object) -> list[tuple[int, ...]]:
    inputs = tuple(TensorSpec(name, "float32", shape) for name, shape in specs)
    return [one.shape for one in make_feeds(Signature(inputs, ()), 5, **more).values()]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("N", 3), (5, 3)),
        ((2, 3), (2, 3)),
        ((), ()),
        (None, (5,)),
        ((None, None), (5, 16)),
        (("N", "seq_len"), (5, 32)),
        (("N", "Height"), (5, 224)),
        (("N", None, None), (5, 16, 16)),
        (("N", None, None, None), (5, 3, 224, 224)),
        (("N", "a", 7, "channels"), (5, 3, 7, 3)),
        (("N", "a", "b", "c", "d"), (5, 16, 16, 16, 16)),
    ],
)
def test_sizes_of_one_input(shape: tuple[int | str | None, ...] | None, expected: tuple[int, ...]):
    assert shapes(("x", shape)) == [expected]


def test_a_symbol_has_one_size_wherever_it_stands():
    assert shapes(("x", ("N", 3)), ("s", (2, "N")), ("h", ("M", 1))) == [(5, 3), (2, 5), (5, 1)]
    assert shapes(("x", ("T", "N")), ("s", ("N", 2)), rows_axes={"x": 1, "s": 0}) == [(16, 5), (5, 2)]
    assert shapes(("x", ("N", 3)), ("s", ("K",)), rows_axes={"s": None}) == [(5, 3), (16,)]
    assert shapes(("x", ("N", 3)), ("t", ("K", "N")), rows_axes={"t": None}) == [(5, 3), (16, 5)]


def test_values_of_each_type():
    types = {"x": "float32", "h": "float16", "i": "int64", "u": "uint8", "b": "bool", "s": "string", "z": "bfloat16"}
    types |= {"attention_Mask": "int32", "ids": "int64", "only": "int32"}
    specs = tuple(TensorSpec(name, kind, ("N",)) for name, kind in types.items())
    made = make_feeds(Signature(specs, ()), 4000, id_limits={"ids": 7, "only": 1})
    assert {name: str(one.dtype) for name, one in made.items()} == types | {"s": "object", "z": "float32"}
    found = {name: sorted(set(one.tolist())) for name, one in made.items() if name not in "xhz"}
    assert found == {
        "i": [0, 1], "u": [0, 1], "b": [False, True], "s": ["beam", "row", "split", "stage"],
        "attention_Mask": [1], "ids": list(range(7)), "only": [0],
    }  # fmt: skip
    for name in "xhz":
        assert abs(made[name].astype(float).mean()) < 0.1 and abs(made[name].astype(float).std() - 1) < 0.1
    again = make_feeds(Signature(specs, ()), 4000, id_limits={"ids": 7, "only": 1})
    assert all(np.array_equal(one, again[name]) for name, one in made.items())
    assert not np.array_equal(make_feeds(Signature(specs[:1], ()), 4000, 1)["x"], made["x"])


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        ("y = Gather(w, i)", {"i": 7}),
        ("y = Gather<axis=1>(w, i)", {"i": 3}),
        ("y = Gather<axis=-1>(w, i)", {"i": 3}),
        ("y = Gather<axis=-2>(w, i)", {"i": 7}),
        ("y = Gather(i, i)", {}),
        ("y = Gather(open, i)", {}),
        ("a = Cast<to=6>(i) b = Unsqueeze(a, one) y = Gather(w, b)", {"i": 7}),
        ("a = Gather(w, i) b = Gather(v, i) y = Add(a, b)", {"i": 5}),
        ("a = Identity(i) b = Gather(v, a) c = Gather(w, i) y = Add(b, c)", {"i": 5}),
        ("a = Add(i, i) y = Gather(w, a)", {}),
        ("a = Reshape(w, i) y = Gather(v, j)", {"j": 5}),
        (" ".join(f"i{n + 1} = Identity(i{n})" for n in range(7)) + " y = Gather(w, i7)", {"i0": 7}),
        (" ".join(f"i{n + 1} = Identity(i{n})" for n in range(8)) + " y = Gather(w, i8)", {}),
        ("y = Gather(w, f)", {}),
        ("y = Slice(w, i, j)", {}),
    ],
)
def test_ids_are_limited_by_what_they_pick_from(body: str, limits: dict[str, int]):
    names = sorted(
        {one for one in ("i0", "i", "j") if one in body.replace("(", " ").replace(")", " ").replace(",", " ").split()}
    )
    inputs = ", ".join([*(f"int64[N] {name}" for name in names), "float[N] f", "float[P, Q] open"])
    text = f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => (float[M] y) <int64[1] one = {{1}}> {{ {body} }}'
    model = parser.parse_model(text)
    for name, size in {"w": 7, "v": 5}.items():
        table = np.zeros((size, 3), np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    assert find_id_limits(ir.from_proto(model)) == limits
