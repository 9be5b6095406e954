"""A rule is a value in its family: the tables of all operators follow from it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import beamsplit.models.shard as shard
from beamsplit.models.shard.decision import Decision, RuleContext
from beamsplit.models.shard.placement import Sharded
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.rules import FAMILIES, RULES, axes_of, rule_of
from tests.models.shard.sharding import check
from tests.onnx_models import build


def test_no_operator_is_of_two_families():
    assert sum(len(family.RULES) for family in FAMILIES) == len(RULES)


def test_rules_are_found_by_domain_and_operator():
    def node(domain: str, op_type: str) -> ir.Node:
        return ir.Node(domain, op_type, [])

    assert rule_of(node("", "Gemm")) is RULES["", "Gemm"]
    assert rule_of(node("ai.onnx", "Gemm")) is RULES["", "Gemm"]
    assert rule_of(node("mine", "Gemm")) is None


@pytest.mark.parametrize(
    "op_type, words",
    [
        ("Conv", ("output channels", "input channels")),
        ("QLinearConv", ("output channels", "input channels")),
        ("Gather", ("table columns", "table rows")),
        ("MatMulNBits", ("columns", "rows")),
        ("SomethingElse", ("columns", "rows")),
    ],
)
def test_a_rule_says_what_its_weight_is_divided_by(op_type: str, words: tuple[str, str]):
    assert axes_of(op_type) == words


def rule_beside(op_type: str, axes: dict[int, int], shapes: dict[int, tuple[int, ...]], domain: str = "", **given):
    node = ir.Node(domain, op_type, [], [ir.convenience.convert_attribute(*one) for one in given.items()])
    beside = RULES[domain, op_type].data_beside
    assert beside is not None
    return dict(beside(node, axes, shapes))


@pytest.mark.parametrize(
    "found, expected",
    [
        (lambda: rule_beside("Gemm", {1: 1}, {0: (5, 8), 1: (8, 6)}), {0: None}),
        (lambda: rule_beside("Gemm", {1: 0}, {0: (5, 8), 1: (8, 6)}), {0: 1}),
        (lambda: rule_beside("Gemm", {1: 1}, {0: (5, 8), 1: (6, 8)}, transB=1), {0: 1}),
        (lambda: rule_beside("Gemm", {1: 0}, {0: (8, 5), 1: (8, 6)}, transA=1), {0: 0}),
        (lambda: rule_beside("Conv", {1: 0}, {0: (5, 8, 9, 9), 1: (4, 8, 3, 3)}), {0: None}),
        (lambda: rule_beside("Conv", {1: 0}, {0: (5, 8, 9, 9), 1: (8, 1, 3, 3)}, group=8), {0: 1}),
        (lambda: rule_beside("Gather", {0: 0}, {0: (99, 8), 1: (5, 7)}), {1: None}),
        (lambda: rule_beside("QLinearConv", {3: 0}, {0: (5, 8, 9, 9), 3: (4, 8, 3, 3)}), {0: None}),
        (lambda: rule_beside("Add", {1: 0}, {0: (5, 7, 8), 1: (8,)}), {0: 2}),
        (lambda: rule_beside("BatchNormalization", {1: 0}, {0: (5, 8, 9, 9), 1: (8,)}), {0: 1}),
    ],
)
def test_data_beside_divided_weights(found, expected: dict[int, int | None]):
    assert found() == expected


def test_nothing_in_shard_knows_of_stages():
    # They share models/graph and models/cost; models/split may build on shards.
    for path in Path(str(shard.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("beamsplit.models.split")], path


def test_another_rule_is_an_entry_of_its_family(monkeypatch: pytest.MonkeyPatch):
    """CumSum over the rows, which has none: it stays whole, and with a rule it takes slices of columns."""

    def running_sum(node: ir.Node, context: RuleContext) -> Decision | None:
        placement = context.placement(node.inputs[0])
        along_rows = isinstance(placement, Sharded) and placement.axis == 1
        return Decision({str(node.outputs[0].name): placement}) if along_rows else None

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["g"]),
        helper.make_node("CumSum", ["g", "axis"], ["c"], name="running sum"),
        helper.make_node("Gemm", ["c", "v"], ["y"]),
    ]
    weights = {name: rng.standard_normal((6, 6)).astype(np.float32) for name in "wv"}
    inputs, outputs = [("x", TensorProto.FLOAT, ["n", 6])], [("y", TensorProto.FLOAT, ["n", 6])]
    proto = build(nodes, inputs, outputs, {**weights, "axis": np.array(0)})
    feeds = {"x": rng.standard_normal((3, 6)).astype(np.float32)}
    assert "running sum" not in check(proto, feeds, 2).decisions
    monkeypatch.setitem(RULES, ("", "CumSum"), Rule(running_sum))
    assert "running sum" in check(proto, feeds, 2).decisions
