"""How tensors lie in words, so that a rule's inputs and outputs fit in a line.

```
N 3 4       [rows, 3, 4]                       3 N 4    rows on axis 1
2N3 4       rows folded: 2 x rows x 3          2 4      no row's
=2,N        no row's, and what it holds        #N       the same of a scalar
()          a scalar                           ~        no row's, of an unknown shape
L, M        sizes that are not known           -        absent
i: u: b:    before any of these: whole numbers, bytes, truth values
```

A node is `domain.Op@opset attribute=1 attribute=[1,2] attribute="text" ::outputs`, of opset 17 and with one output
unless it says so; `:,2` leaves out the second of two outputs.
"""

from __future__ import annotations

import json
import re

from beamsplit.models.independence.dims import ONE, Dim, size
from beamsplit.models.independence.lies import Given, Rows, Same
from beamsplit.models.independence.reading import Attribute, Node

# Not those that a rule makes up, which count up from 1.
SYMBOLS = {"L": -2, "M": -1}
UNKNOWN = {number: name for name, number in SYMBOLS.items()}


def node_of(text: str) -> Node:
    """The node of a line."""
    head, *words = text.split()
    head, _, opset = head.partition("@")
    domain, _, op = head.rpartition(".")
    outputs = ["y"]
    own = []
    for word in words:
        if word.startswith("@"):
            opset = word[1:]
        elif word.startswith("::"):
            outputs = [f"y{number}" for number in range(int(word[2:]))]
        elif word == ":,2":
            outputs = ["y", ""]
        else:
            own.append(_attribute(*word.split("=", 1)))
    return Node(op, domain, op, outputs=outputs, own=own, opset=int(opset or 17))


def _attribute(name: str, text: str) -> Attribute:
    value = json.loads(text.replace(".,", ".0,").replace(".]", ".0]"))
    if isinstance(value, str):
        return Attribute(name, text=value)
    if isinstance(value, list) and any(isinstance(one, float) for one in value):
        return Attribute(name, reals=value, floats=len(value))
    return Attribute(name, ints=value) if isinstance(value, list) else Attribute(name, number=value)


def dim_of(text: str) -> Dim:
    """`2N3`, `L`, `-1`, `LN`."""
    if re.fullmatch(r"-?\d+", text):
        return size(int(text))
    factor, rows, symbols = 1, 0, []
    for part in re.findall(r"\d+|[A-Z]", text):
        if part.isdigit():
            factor *= int(part)
        elif part == "N":
            rows += 1
        else:
            symbols.append(SYMBOLS[part])
    return Dim(rows, factor, tuple(sorted(symbols)))


def given_of(text: str) -> Given | None:
    """How an input lies; None where it is absent."""
    text = text.strip().partition(":")[2] if text.strip()[1:2] == ":" else text.strip()
    if text == "-":
        return None
    if text == "~":
        return Same(None)
    if text == "()":
        return Same(())
    if text.startswith("#"):
        return Same((), (dim_of(text[1:]),))
    if text.startswith("="):
        content = tuple(dim_of(part) for part in text[1:].split(",") if part)
        return Same((size(len(content)),), content)
    words = text.split()
    shape = tuple(map(dim_of, words))
    axis = next((at for at, word in enumerate(words) if "N" in word), None)
    if axis is None:
        return Same(shape)
    outer, inner = words[axis].split("N")[:2]
    return Rows(axis, shape, dim_of(outer) if outer else ONE, dim_of(inner) if inner else ONE)


def told(given: Given) -> str:
    """The same in words; sizes that a rule made up are `?`."""
    if isinstance(given, Same):
        if given.shape is None:
            return "~"
        if given.content is not None:
            assert len(given.shape) <= 1
            return ("=" if given.shape else "#") + ",".join(map(_dim, given.content))
        return " ".join(map(_dim, given.shape)) or "()"
    words = [_dim(dim) for dim in given.shape]
    assert given.shape[given.axis].rows == 1
    if (given.outer, given.inner) != (ONE, ONE):
        words[given.axis] = f"{_factor(given.outer)}N{_factor(given.inner)}"
    # Where rows are on one axis and their number on another it is said which.
    counted = sum(dim.rows > 0 for dim in given.shape) > 1
    return " ".join(words) + (f" on {given.axis}" if counted else "")


def _factor(dim: Dim) -> str:
    return "" if dim == ONE else _dim(dim)


def _dim(dim: Dim) -> str:
    if dim.known is not None:
        return str(dim.known)
    named = "".join(["N" * dim.rows, *(UNKNOWN.get(one, "?") for one in dim.unknown)])
    return (str(dim.factor) if dim.factor != 1 else "") + named


def parts_of(line: str) -> tuple[Node, list[Given | None]]:
    """The node of a line and its inputs."""
    head, *inputs = line.split("|")
    return node_of(head), list(map(given_of, inputs))
