"""Rules say of rules.txt's nodes what was recorded, and what they say of rows is so when ONNX Runtime runs the node."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from beamsplit.models.independence.rules import RULES
from tests.models.independence.notation import node_of
from tests.models.independence.recorded_rules import RECORDED, accepted
from tests.recorded import expanded

Array = np.ndarray[Any, Any]

SIZES = {"L": 5, "M": 6}
TYPES = {"i": np.int64, "u": np.uint8, "b": np.bool_, "f": np.float32}
LEFT_OUT = ("com.microsoft", "ai.onnx.ml", "Attention", "RotaryEmbedding", "Dropout@", "BatchNormalization@")
"""Some of their lines are no whole nodes: ONNX Runtime may end the process over them. Those run in the ONNX suites."""

DRAWN = ("Random", "Bernoulli", "DynamicQuantizeLinear")
"""Whose rows differ for another reason, which is told apart (`RANDOM`, `QUANTISES`)."""

LEAST_RUN = 400
"""Nodes of those that ONNX Runtime runs as they stand, so that the test looks at something."""


def test_each_rule_says_what_was_recorded() -> None:
    assert RECORDED.changed() == []


def test_each_rule_has_a_case() -> None:
    nodes = [node_of(line.split("|")[0]) for pattern in RECORDED.patterns() for line in expanded(pattern)]
    assert set(RULES.values()) == {RULES[node.domain, node.op] for node in nodes}


def length(word: str, rows: int) -> int:
    """`2N3`, `L` or `4` with that many rows."""
    made = 1
    for part in re.findall(r"\d+|[A-Z]", word):
        made *= int(part) if part.isdigit() else rows if part == "N" else SIZES[part]
    return made


class Input:
    """An input of a line: numbers drawn for it, or what it holds."""

    def __init__(self, text: str, name: str):
        kind, colon, words = text.strip().partition(":")
        if not colon:
            kind, words = "f", text.strip()
        self.absent, self.holds = words == "-", words[:1] in ("=", "#")
        self.words = [] if words == "()" else words.split()
        self.name, self.type = "" if self.absent else name, TYPES[kind]
        if self.holds:
            self.type = np.int64
        self.axis = next((at for at, word in enumerate(self.words) if "N" in word and not self.holds), None)

    def drawn(self, rows: int, seed: int) -> Array:
        rng = np.random.default_rng(seed)
        if self.holds:
            text = self.words[0]
            numbers = [
                -length(one[1:], rows) if one[:1] == "-" else length(one, rows) for one in text[1:].split(",") if one
            ]
            return np.array(numbers[0] if text[0] == "#" else numbers, np.int64)
        shape = [length(word, rows) for word in self.words]
        if self.type is np.float32:
            return np.asarray(rng.standard_normal(shape), np.float32)
        return np.asarray(rng.integers(0, 2, shape), self.type)


def of_row(value: Array, words: Sequence[str], rows: int, row: int) -> Array:
    """The part of one row; `words` as a line has them."""
    axis = next(at for at, word in enumerate(words) if "N" in word)
    outer, inner = words[axis].split("N")
    folded = (length(outer, rows), rows, length(inner, rows))
    return np.take(value.reshape(*value.shape[:axis], *folded, *value.shape[axis + 1 :]), row, axis + 1)


def session_of(line: str, inputs: Sequence[Input], held: dict[str, Array], outputs: Sequence[str]) -> Any:
    node = node_of(line.split("|")[0])
    attributes: dict[str, Any] = {}
    for one in node.own:
        value = one.text if one.text is not None else one.number if one.number is not None else one.ints or one.reals
        if one.name != "opset":
            attributes[one.name] = value
    names = "|".join(one.name for one in inputs).rstrip("|").split("|")
    made = helper.make_node(node.op, names, outputs, domain=node.domain, **attributes)
    fed = [(one, helper.np_dtype_to_tensor_dtype(np.dtype(one.type))) for one in inputs if one.name and not one.holds]
    graph = helper.make_graph(
        [made], "g",
        [helper.make_tensor_value_info(one.name, kind, [None] * len(one.words)) for one, kind in fed],
        [onnx.ValueInfoProto(name=name) for name in outputs if name],
        [onnx.numpy_helper.from_array(value, name) for name, value in held.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", node.opset), helper.make_opsetid("ai.onnx.ml", 3)]
    opsets.append(helper.make_opsetid("com.microsoft", 1))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), options)


def wrong(line: str, lies: Sequence[str]) -> str | None:
    """What ONNX Runtime gives otherwise than the rule says; LookupError where it does not run the line."""
    inputs = [Input(text, f"x{at}") for at, text in enumerate(line.split("|")[1:])]
    rows, row = 3, 1
    if not any(one.axis is not None for one in inputs):
        raise LookupError
    held = {one.name: one.drawn(rows, 0) for one in inputs if one.holds}
    outputs = [name for name in node_of(line.split("|")[0]).outputs if name]
    feeds = {one.name: one.drawn(rows, at) for at, one in enumerate(inputs) if one.name and not one.holds}
    changed = dict(feeds)
    for at, one in enumerate(inputs):
        if one.axis is not None:
            places = _places(one, feeds[one.name].shape, rows, row)
            changed[one.name] = np.where(places, feeds[one.name], one.drawn(rows, 100 + at)).astype(one.type)
    try:
        session = session_of(line, inputs, held, outputs)
        before, after = session.run(None, feeds), session.run(None, changed)
    except Exception as error:  # whatever ONNX Runtime has against it
        raise LookupError from error
    for name, words, a, b in zip(outputs, lies, before, after, strict=False):
        parts = [] if words == "()" else words.split()
        if "on" in parts or "~" in parts or words[:1] in ("=", "#"):
            continue
        known = [length(word, rows) if "?" not in word else None for word in parts]
        if len(a.shape) != len(known) or any(size not in (None, own) for size, own in zip(known, a.shape, strict=True)):
            return f"{name} is {a.shape}, said to be {words}"
        if any("N" in word for word in parts):
            if any("N" in word and "?" in word for word in parts):
                continue
            a, b = of_row(a, parts, rows, row), of_row(b, parts, rows, row)
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return f"{name}, said to be {words}, changes with other rows"
    return None


def _places(one: Input, shape: tuple[int, ...], rows: int, row: int) -> Array:
    """Where the row's own places are."""
    axis = one.axis or 0
    outer, inner = one.words[axis].split("N")
    own = np.zeros((length(outer, rows), rows, length(inner, rows)), bool)
    own[:, row] = True
    return np.broadcast_to(own.reshape([-1 if at == axis else 1 for at in range(len(shape))]), shape)


def test_what_is_said_of_rows_is_so() -> None:
    ran, found = 0, []
    for line, lies in accepted():
        if line.startswith((*LEFT_OUT, *DRAWN)):
            continue
        try:
            told = wrong(line, lies)
        except LookupError:
            continue
        ran += 1
        found += [f"{line}: {told}"] if told else []
    assert found == []
    assert ran >= LEAST_RUN


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore")
    ort.set_default_logger_severity(4)
