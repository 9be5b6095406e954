"""What is read of a model without the onnx package, beside what that reads."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from beamsplit.models.graph.protobuf import fields, varint
from beamsplit.models.independence.reading import MOST_NUMBERS, Attribute, Constant, Graph, Node, read_model

KNOWN = (np.float32, np.float64, np.int32, np.int64, np.uint8, np.int8, np.bool_)
OTHERS = (np.float16, np.int16, np.uint16, np.uint32, np.uint64)


def read(nodes: list[Any], **parts: Any) -> Any:
    functions, opsets = parts.pop("functions", []), parts.pop("opsets", {"": 17})
    graph = helper.make_graph(nodes, "g", parts.pop("inputs", []), parts.pop("outputs", []), **parts)
    model = helper.make_model(
        graph, functions=functions, opset_imports=[helper.make_opsetid(*pair) for pair in opsets.items()]
    )
    return read_model(model.SerializeToString())


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (MOST_NUMBERS,), (MOST_NUMBERS + 1,), (8, 8), (5, 13)])
@pytest.mark.parametrize("kind", [*KNOWN, *OTHERS])
@pytest.mark.parametrize("raw", [True, False])
def test_constants(kind: type, shape: tuple[int, ...], raw: bool) -> None:
    count = int(np.prod(shape))
    array = (np.arange(count) % 7 - (3 if np.dtype(kind).kind in "if" else 0)).astype(kind).reshape(shape)
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    values = array.tobytes() if raw else array.reshape(-1).tolist()
    (found,) = read([], initializer=[helper.make_tensor("c", number, shape, values, raw=raw)]).graph.constants
    listed = tuple(array.reshape(-1).tolist()) if kind in KNOWN and count <= MOST_NUMBERS else None
    assert found == Constant("c", shape, listed)


def test_constants_that_lie_elsewhere_or_are_cut_short() -> None:
    array = np.arange(3, dtype=np.int64)
    outside, short, both = (numpy_helper.from_array(array, name) for name in "abc")
    outside.data_location = TensorProto.EXTERNAL
    short.raw_data = short.raw_data[:-1]
    both.int64_data.extend([1, 2, 3])
    found = read([], initializer=[outside, short, both]).graph.constants
    assert [one.numbers for one in found] == [None, None, (0, 1, 2)]
    few = helper.make_tensor("d", TensorProto.INT64, [3], [1, 2, 3])
    few.int64_data.pop()
    assert read([], initializer=[few]).graph.constants[0].numbers is None


def test_numbers_one_by_one() -> None:
    """As writers may that do not pack: dimensions, whole numbers and floats each with a tag of its own."""
    tensor = b"".join(
        [b"\x08\x02", b"\x08\x01", b"\x10\x07", b"\x38\x05", b"\x38" + b"\xff" * 9 + b"\x01", b"\x42\x01c"]
    )
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    attribute = b"\x0a\x01k" + b"\x3d" + struct.pack("<f", 1.5) + b"\x3d" + struct.pack("<f", 2.5) + b"\x40\x03\x40\x04"
    node = b"\x22\x01A" + b"\x2a" + bytes([len(attribute)]) + attribute
    graph += b"\x0a" + bytes([len(node)]) + node
    found = read_model(b"\x3a" + bytes([len(graph)]) + graph).graph
    assert found.constants == [Constant("c", (2, 1), (5, -1))]
    (own,) = found.nodes[0].own
    assert (own.name, own.ints, own.reals, own.floats) == ("k", [3, 4], [1.5, 2.5], 2)


ATTRIBUTES: dict[str, tuple[Any, Attribute]] = {
    "int": (-3, Attribute("k", number=-3)),
    "float": (1.5, Attribute("k", real=1.5)),
    "text": ("é", Attribute("k", text="é")),
    "ints": ([1, -2, 3], Attribute("k", ints=[1, -2, 3])),
    "floats": ([1.5, 2.5], Attribute("k", floats=2, reals=[1.5, 2.5])),
    "most floats": ([0.5] * MOST_NUMBERS, Attribute("k", floats=MOST_NUMBERS, reals=[0.5] * MOST_NUMBERS)),
    "many floats": ([0.5] * (MOST_NUMBERS + 1), Attribute("k", floats=MOST_NUMBERS + 1, reals=[0.5] * MOST_NUMBERS)),
    "texts": (["a", "b"], Attribute("k", strings=2)),
    "many texts": (["a"] * 99, Attribute("k", strings=MOST_NUMBERS + 1)),
    "tensor": (numpy_helper.from_array(np.array([7]), "t"), Attribute("k", tensor=Constant("t", (1,), (7,)))),
    "graph": (helper.make_graph([], "b", [], []), Attribute("k", graph=Graph())),
}


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes(kind: str) -> None:
    value, wanted = ATTRIBUTES[kind]
    (node,) = read([helper.make_node("Op", ["a", ""], ["b"], name="n", domain="d", k=value)]).graph.nodes
    assert node.own == [wanted]
    assert (node.op, node.domain, node.name, node.inputs, node.outputs) == ("Op", "d", "n", ["a", ""], ["b"])


def test_what_a_node_is_asked() -> None:
    own = [Attribute("i", number=0), Attribute("t", text=""), Attribute("l", ints=[]), Attribute("r", refers_to="of")]
    node = Node("Op", own=own, outputs=["y"])
    assert (node.whole("i", 5), node.whole("t", 5), node.whole("no"), node.whole("no", 7)) == (0, 5, 0, 7)
    assert (node.text("t", "x"), node.text("i", "x"), node.text("no")) == ("", "x", "")
    assert (node.ints("l"), node.ints("i"), node.ints("no")) == ([], [], None)
    assert (node.has("i"), node.has("r"), node.has("no")) == (True, False, False)
    assert (node.graph("i"), node.graph("no"), str(node)) == (None, None, "Op 'y'")
    called = Node("Op", name="n", own=own, given={"of": Attribute("of", number=9)})
    assert (called.whole("r"), called.has("r"), str(called)) == (9, True, "Op 'n'")


def test_domains_opsets_functions_and_values() -> None:
    inner = helper.make_node("Add", ["p", "q"], ["r"])
    inner.attribute.append(onnx.AttributeProto(name="k", ref_attr_name="of", type=onnx.AttributeProto.INT))
    function = helper.make_function(
        "mine", "F", ["p", "q"], ["r"], [inner], [helper.make_opsetid("ai.onnx", 15)], attributes=["of"],
        attribute_protos=[helper.make_attribute("given", 4)], overload="o",
    )  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [0]),
        [3],
    )
    found = read(
        [helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")],
        inputs=[x], outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])], functions=[function],
        opsets={"ai.onnx": 18, "mine": 2}, sparse_initializer=[sparse],
    )  # fmt: skip
    assert found.opsets == {"": 18, "mine": 2} and found.graph.nodes[0].domain == ""
    assert (found.graph.inputs, found.graph.outputs, found.graph.sparse) == (["x"], ["y"], ["s"])
    made = found.functions["mine", "F"]
    assert (made.name, made.domain, made.overload, made.opsets) == ("F", "mine", "o", {"": 15})
    assert (made.graph.inputs, made.graph.outputs) == (["p", "q"], ["r"])
    assert made.graph.nodes[0].own == [Attribute("k", refers_to="of")]
    assert made.defaults == {"given": Attribute("given", number=4)}


@pytest.mark.parametrize(
    "data", [b"\x3a\x05ab", b"\x3a\x80", b"\x3a", b"\x3a\x02\x0a\x05", b"\x0f\x01", b"\x3a" + b"\x80" * 11]
)
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_model(data)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**32, 2**63, 2**64 - 1])
def test_numbers_of_variable_length(number: int) -> None:
    written, rest = [], number
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    data = bytes([9, *written, rest, 9])
    assert varint(data, 1) == (number, len(data) - 1)


def test_fields_of_all_kinds() -> None:
    data = b"\x08\x05" + b"\x11" + b"8" * 8 + b"\x1a\x02ab" + b"\x25" + b"4" * 4 + b"\xa0\x01\x07"
    assert list(fields(data, 0, len(data))) == [
        (1, 0, 5),
        (2, 1, (3, 11)),
        (3, 2, (13, 15)),
        (4, 5, (16, 20)),
        (20, 0, 7),
    ]
    for cut in (10, 18):
        with pytest.raises(ValueError, match="longer than the whole"):
            list(fields(data[:cut], 0, cut))
    with pytest.raises(ValueError, match="wire type 3"):
        list(fields(b"\x0b", 0, 1))
