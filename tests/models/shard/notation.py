"""Nodes over shards in words, so that a rule's inputs and its decision fit in a line.

```
5 8              data [5, 8] that every shard has             5 [8]      cut evenly along its axis of 8
5 [3+5]          cut into 3 and 5                              5 2*[8]    2 x 8 long: an axis merged into the cut one
5 [2+1&2+1]      two tensors behind one another, each cut      + 5 8      terms of a sum
4 @1=3+5         sizes, of which the one at 1 is each shard's own
c 8 6            a constant                                    =1,2       one whose numbers are known
i: u: d:         before any of these: whole numbers, bytes, texts
-                absent           ?                           of unknown shape
```

A node is `domain.Op@opset attribute=1 ::outputs %shards ^granule`, of opset 17, with one output and two shards unless
it says so; `>` gives the shapes of the outputs, between `&`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.cutting import Cutting
from beamsplit.models.shard.decision import Decision, GraphFacts, RuleContext, Slice
from beamsplit.models.shard.placement import (
    PARTIAL,
    NeedsGranule,
    NeedsParts,
    Partial,
    Placement,
    Replicated,
    Sharded,
    ShardingOrigin,
    Sizes,
    cut_evenly,
)
from beamsplit.models.shard.rules import decide, rule_of

TYPES = {"": ir.DataType.FLOAT, "i": ir.DataType.INT64, "u": ir.DataType.UINT8, "d": ir.DataType.STRING}


class Case:
    """A line: the node, and what its rule may ask for."""

    def __init__(self, line: str):
        head, _, results = line.partition(">")
        head, *inputs = head.split("|")
        self.shards, self.opset, self.cutting = 2, 17, Cutting()
        self.placements: dict[str, Placement] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.constants: set[str] = set()
        op, attributes, count = self._head(head)
        values = [self._input(f"x{at}", text.strip()) for at, text in enumerate(inputs)]
        outputs = [ir.Value(name=f"y{at}") for at in range(count)]
        for at, text in enumerate(results.split("&") if results else []):
            self.shapes[f"y{at}"] = tuple(map(int, text.split()))
        domain, _, name = op.rpartition(".")
        self.node = ir.Node(domain, name, values, attributes, outputs=outputs, name="n")

    def _head(self, head: str) -> tuple[str, list[ir.Attr], int]:
        op, *words = head.split()
        op, _, opset = op.partition("@")
        self.opset = int(opset or 17)
        attributes, outputs = [], 1
        for word in words:
            if word.startswith("::"):
                outputs = int(word[2:])
            elif word.startswith("%"):
                self.shards = int(word[1:])
            elif word.startswith("^"):
                self.cutting.granules["n"] = int(word[1:])
            else:
                name, _, text = word.partition("=")
                value = json.loads(text)
                attributes.append(ir.convenience.convert_attributes({name: value})[0])
        return op, attributes, outputs

    def _input(self, name: str, text: str) -> ir.Value | None:
        if text == "-":
            return None
        value = ir.Value(name=name)
        kind, colon, rest = text.partition(":")
        value.dtype, text = (TYPES[kind], rest) if colon else (ir.DataType.FLOAT, text)
        if text == "?":
            return value
        if text.startswith("="):
            numbers = np.array([int(one) for one in text[1:].split(",") if one])
            value.const_value = ir.Tensor(numbers)
            self.constants.add(name)
            self.shapes[name] = numbers.shape
            return value
        words = [] if text == "()" else text.split()
        if words[:1] == ["c"]:
            self.constants.add(name)
            words = words[1:]
            shape = [int(one) for one in words]
            array = np.zeros(shape, np.float32 if value.dtype == ir.DataType.STRING else value.dtype.numpy())
            value.const_value = ir.Tensor(array)
        elif words[:1] == ["+"]:
            self.placements[name] = PARTIAL
            words = words[1:]
        elif any(word.startswith("@") for word in words):
            own = [word[1:].split("=") for word in words if word.startswith("@")]
            self.placements[name] = Sizes(tuple((int(at), _lengths(pieces)) for at, pieces in own))
            words = [word for word in words if not word.startswith("@")]
        self.shapes[name] = tuple(self._size(name, axis, word) for axis, word in enumerate(words))
        return value

    def _size(self, name: str, axis: int, word: str) -> int:
        found = re.fullmatch(r"(?:(\d+)\*)?\[(.*)\]", word)
        if found is None:
            return int(word)
        outer, parts = int(found[1] or 1), [_lengths(one) for one in found[2].split("&")]
        pieces = tuple(map(sum, zip(*parts, strict=True)))
        if len(parts) == 1 and len(pieces) == 1:
            even = cut_evenly(pieces[0], self.shards)
            assert even is not None
            pieces = even
        sections = tuple(parts) if len(parts) > 1 else ()
        self.placements[name] = Sharded(axis, pieces, frozenset([ShardingOrigin(f"of {name}")]), outer, sections)
        return outer * sum(pieces)

    def context(self) -> RuleContext:
        """What the rule sees."""
        opsets = {"": self.opset, "com.microsoft": 1}
        known = frozenset(self.constants)
        return RuleContext(self.shards, self.placements, GraphFacts(self.shapes, known, opsets), self.cutting)


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("+")))


def _plus(numbers: Any) -> str:
    return "+".join(map(str, numbers))


def placed(placement: Placement) -> str:
    """A placement in words."""
    match placement:
        case Replicated():
            return "whole"
        case Partial():
            return "+"
        case Sizes():
            return "sizes" + "".join(f" @{at}={_plus(pieces)}" for at, pieces in placement.positions)
        case Sharded():
            parts = "&".join(map(_plus, placement.sections)) or _plus(placement.pieces)
            outer = f"{placement.outer}*" if placement.outer != 1 else ""
            origins = ",".join(f"{one.node} {one.each}" for one in sorted(placement.origins) if one != ("n", 1))
            together = tuple(map(sum, zip(*placement.sections, strict=True)))
            assert not placement.sections or placement.pieces == together
            return f"{placement.axis}:{outer}[{parts}]" + (f" ({origins})" if origins else "")
    raise AssertionError(placement)


def _slices(what: str, slices: dict[int, Slice]) -> list[str]:
    return [
        f"{what} {at} on {one.axis}:{'&'.join(map(_plus, one.sections)) or _plus(one.pieces)}"
        for at, one in sorted(slices.items())
    ]


class Written:
    """Takes down what a rule makes for a shard."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def node(self, op_type: str, inputs: Any, *, domain: str = "", **attributes: Any) -> ir.Value:
        made = ir.Value(name=f"v{len(self.words)}")
        given = ",".join("-" if value is None else str(value.name) for value in inputs)
        own = "".join(f" {name}={value}" for name, value in sorted(attributes.items()))
        self.words.append(f"{op_type}({given}){own}")
        return made

    def constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        return ir.Value(name=f"{array.dtype.kind}{array.tolist()}")


def decided(case: Case, decision: Decision) -> str:
    """A decision in words."""
    words = [placed(decision.outputs[str(one.name)]) for one in case.node.outputs if str(one.name) in decision.outputs]
    if len(words) != len(case.node.outputs):
        words.append(f"of {len(words)}")
    words += _slices("cut", decision.slices) + _slices("take", decision.taken)
    if decision.first_only:
        zero = " zero elsewhere" if decision.zero_elsewhere else ""
        words.append(f"first only {sorted(decision.first_only)}{zero}")
    words += [f"{at} = {[one.tolist() for one in each]}" for at, each in decision.constants.items()]
    words += [f"{name}={json.dumps(list(each))}" for name, each in decision.attributes.items()]
    if decision.sharded_bytes:
        words.append(f"{decision.sharded_bytes} bytes")
    if decision.replace is not None:
        for shard in range(case.shards):
            written = Written()
            decision.replace(written, shard, list(case.node.inputs))
            words.append(f"shard {shard}: {'; '.join(written.words)}")
    return ", ".join(words)


def beside(case: Case) -> str:
    """How the data lies where only the constants' axes are told."""
    rule = rule_of(case.node)
    if rule is None or rule.data_beside is None:
        return ""
    known = {at: case.shapes[f"x{at}"] for at in range(len(case.node.inputs)) if f"x{at}" in case.shapes}
    words = []
    for at, shape in known.items():
        for axis in range(len(shape) if f"x{at}" in case.constants else 0):
            found = rule.data_beside(case.node, {at: axis}, known)
            words.append(f"{at} on {axis} -> {dict(found)}")
    return "; ".join(words)


def said(line: str) -> str:
    """What the rule of a node says."""
    case = Case(line.removeprefix("beside "))
    if line.startswith("beside "):
        return beside(case)
    context = case.context()
    try:
        decision = decide(case.node, context)
    except NeedsGranule as need:
        return f"needs multiples of {need.granule} of {sorted(one.node for one in need.origins)}"
    except NeedsParts as need:
        return f"needs parts {need.sizes} at {need.places} places of {sorted(one.node for one in need.origins)}"
    if decision is None:
        return f"! {context.reasons.get('n', '')}".strip()
    return decided(case, decision)
