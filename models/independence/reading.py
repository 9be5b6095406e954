"""A model file read without its weights and without the onnx package: nodes, small constants, bodies and functions.

Importing onnx and parsing a large model takes longer than following its rows does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from beamsplit.models.graph.protobuf import Bytes, fields, varint

MOST_NUMBERS = 64
"""Of a constant that is read; longer ones are weights."""

_DOUBLE, _FLOAT = 11, 1
_INTS = {6: "i", 7: "q", 2: "B", 3: "b", 9: "?"}
_FLOATS = {_FLOAT: "f", _DOUBLE: "d"}
_EXTERNAL = 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(data: Bytes, part: tuple[int, int]) -> str:
    return bytes(data[part[0] : part[1]]).decode("utf-8", "replace")


def _packed(data: Bytes, part: tuple[int, int]) -> list[int]:
    at, end = part
    found = []
    while at < end:
        value, at = varint(data, at)
        found.append(_signed(value))
    return found


@dataclass(frozen=True)
class Constant:
    """A tensor of the file."""

    name: str
    shape: tuple[int, ...]
    numbers: tuple[float, ...] | None
    """Its values, where they are few numbers that lie in the file itself."""


@dataclass
class Attribute:
    """An attribute of a node; what it has not is empty."""

    name: str = ""
    number: int | None = None
    real: float | None = None
    text: str | None = None
    ints: list[int] = field(default_factory=list)
    floats: int = 0
    """How many there are: values of trees are not read."""
    reals: list[float] = field(default_factory=list)
    """The first of them."""
    strings: int = 0
    tensor: Constant | None = None
    graph: Graph | None = None
    refers_to: str = ""
    """The attribute of the function that it takes its value from."""


@dataclass
class Node:
    """A node."""

    op: str = ""
    domain: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    own: list[Attribute] = field(default_factory=list)
    given: Mapping[str, Attribute] = field(default_factory=dict)
    """In a function: the attributes of the node that calls it, by name."""
    opset: int = 1

    @cached_property
    def attributes(self) -> dict[str, Attribute]:
        """By name; attributes that a function takes from its caller are resolved."""
        found = {}
        for one in self.own:
            if one.refers_to:
                outer = self.given.get(one.refers_to)
                if outer is None:
                    continue
                found[one.name] = outer
            else:
                found[one.name] = one
        return found

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number."""
        one = self.attributes.get(name)
        return default if one is None or one.number is None else one.number

    def ints(self, name: str) -> list[int] | None:
        """Whole numbers; None where the attribute is absent."""
        one = self.attributes.get(name)
        return None if one is None else one.ints

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        one = self.attributes.get(name)
        return default if one is None or one.text is None else one.text

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        return name in self.attributes

    def graph(self, name: str) -> Graph | None:
        """A body."""
        one = self.attributes.get(name)
        return None if one is None else one.graph

    def __str__(self) -> str:
        """For people: the operator and the node's name, or what it makes."""
        return f"{self.op} {self.name or next(iter(self.outputs), '')!r}"


@dataclass
class Graph:
    """The main graph, a body, or the inside of a function."""

    nodes: list[Node] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    sparse: list[str] = field(default_factory=list)


@dataclass
class Function:
    """A function of the model."""

    name: str
    domain: str
    overload: str
    graph: Graph
    opsets: dict[str, int]
    defaults: dict[str, Attribute]


@dataclass
class Model:
    """What a model file says of its graph."""

    graph: Graph
    opsets: dict[str, int]
    functions: dict[tuple[str, str], Function]


def read_model(data: Bytes) -> Model:
    """Read a serialised model.

    Raises:
        ValueError: it is not laid out like ONNX.
    """
    graph, opsets, functions = Graph(), dict[str, int](), dict[tuple[str, str], Function]()
    try:
        for number, wire, value in fields(data, 0, len(data)):
            if wire != 2:
                continue
            if number == 7:
                graph = _graph(data, value)
            elif number == 8:
                opsets.update(_opset(data, value))
            elif number == 25:
                function = _function(data, value)
                functions[function.domain, function.name] = function
    except (IndexError, struct.error) as error:
        raise ValueError("the model is cut short") from error
    return Model(graph, opsets, functions)


def _opset(data: Bytes, part: tuple[int, int]) -> dict[str, int]:
    domain, version = "", 1
    for number, _, value in fields(data, *part):
        if number == 1:
            domain = _text(data, value)
        elif number == 2:
            version = value
    return {"" if domain == "ai.onnx" else domain: version}


def _function(data: Bytes, part: tuple[int, int]) -> Function:
    graph, opsets, defaults = Graph(), dict[str, int](), dict[str, Attribute]()
    name = domain = overload = ""
    for number, _, value in fields(data, *part):
        if number == 1:
            name = _text(data, value)
        elif number == 4:
            graph.inputs.append(_text(data, value))
        elif number == 5:
            graph.outputs.append(_text(data, value))
        elif number == 7:
            graph.nodes.append(_node(data, value))
        elif number == 9:
            opsets.update(_opset(data, value))
        elif number == 10:
            domain = _text(data, value)
        elif number == 11:
            one = _attribute(data, value)
            defaults[one.name] = one
        elif number == 13:
            overload = _text(data, value)
    return Function(name, domain, overload, graph, opsets, defaults)


def _graph(data: Bytes, part: tuple[int, int]) -> Graph:
    graph = Graph()
    for number, wire, value in fields(data, *part):
        if wire != 2:
            continue
        if number == 1:
            graph.nodes.append(_node(data, value))
        elif number == 5:
            graph.constants.append(_constant(data, value))
        elif number == 11:
            graph.inputs.append(_name(data, value))
        elif number == 12:
            graph.outputs.append(_name(data, value))
        elif number == 15:
            graph.sparse.append(_sparse_name(data, value))
    return graph


def _name(data: Bytes, part: tuple[int, int]) -> str:
    return next((_text(data, value) for number, wire, value in fields(data, *part) if (number, wire) == (1, 2)), "")


def _sparse_name(data: Bytes, part: tuple[int, int]) -> str:
    values = next((value for number, _, value in fields(data, *part) if number == 1), (0, 0))
    return _constant(data, values).name


def _node(data: Bytes, part: tuple[int, int]) -> Node:
    node = Node()
    for number, wire, value in fields(data, *part):
        if wire != 2:
            continue
        if number == 1:
            node.inputs.append(_text(data, value))
        elif number == 2:
            node.outputs.append(_text(data, value))
        elif number == 3:
            node.name = _text(data, value)
        elif number == 4:
            node.op = _text(data, value)
        elif number == 5:
            node.own.append(_attribute(data, value))
        elif number == 7:
            domain = _text(data, value)
            node.domain = "" if domain == "ai.onnx" else domain
    return node


def _attribute(data: Bytes, part: tuple[int, int]) -> Attribute:
    one = Attribute()
    for number, wire, value in fields(data, *part):
        if number == 1:
            one.name = _text(data, value)
        elif number == 2:
            one.real = struct.unpack("<f", data[value[0] : value[1]])[0]
        elif number == 3:
            one.number = _signed(value)
        elif number == 4:
            one.text = _text(data, value)
        elif number == 5:
            one.tensor = _constant(data, value)
        elif number == 6:
            one.graph = _graph(data, value)
        elif number == 7:
            # Of a packed list, or of one that is not: a tree's list need not be counted right.
            length = value[1] - value[0]
            one.floats += length // 4
            if len(one.reals) < MOST_NUMBERS and length <= 4 * MOST_NUMBERS:
                one.reals += struct.unpack(f"<{length // 4}f", data[value[0] : value[1]])
            if one.floats > MOST_NUMBERS:
                return one
        elif number == 8:
            one.ints += [_signed(value)] if wire == 0 else _packed(data, value)
            if len(one.ints) > MOST_NUMBERS:
                return one
        elif number == 9:
            one.strings += 1
            if one.strings > MOST_NUMBERS:
                return one
        elif number == 21:
            one.refers_to = _text(data, value)
    return one


def _constant(data: Bytes, part: tuple[int, int]) -> Constant:
    name, kind, place = "", 0, 0
    shape: list[int] = []
    raw: tuple[int, int] | None = None
    listed: list[float] = []
    for number, wire, value in fields(data, *part):
        if number == 1:
            shape += [_signed(value)] if wire == 0 else _packed(data, value)
        elif number == 2:
            kind = value
        elif number == 8:
            name = _text(data, value)
        elif number == 9:
            raw = value
        elif number == 14:
            place = value
        elif number in (4, 10) and value[1] - value[0] <= 8 * MOST_NUMBERS:
            code, each = ("f", 4) if number == 4 else ("d", 8)
            listed += struct.unpack(f"<{(value[1] - value[0]) // each}{code}", data[value[0] : value[1]])
        elif number in (5, 7):
            if wire == 0:
                listed.append(_signed(value))
            elif value[1] - value[0] <= 10 * MOST_NUMBERS:
                listed += _packed(data, value)
    count = 1
    for length in shape:
        count *= length
    numbers: tuple[float, ...] | None = None
    letter = _INTS.get(kind) or _FLOATS.get(kind)
    if letter is not None and count <= MOST_NUMBERS and place != _EXTERNAL:
        if raw is not None and raw[1] - raw[0] == struct.calcsize(f"<{count}{letter}"):
            numbers = struct.unpack(f"<{count}{letter}", data[raw[0] : raw[1]])
        elif raw is None and len(listed) == count:
            numbers = tuple(listed)
    return Constant(name, tuple(shape), numbers)
