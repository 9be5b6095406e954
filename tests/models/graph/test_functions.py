"""Functions that are inlined for ever, or into too much, are refused before ONNX Runtime loads them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.functions import check_functions
from beamsplit.models.graph.model_file import check_model_file
from tests import onnx_models
from tests.onnx_models import save

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def function(name: str, *called: str) -> onnx.FunctionProto:
    """One that calls others of `own`, or operators of ONNX, one behind the other."""
    values = ["a", *(f"v{at}" for at in range(len(called) - 1)), "b"]
    return helper.make_function(
        "own", name, ["a"], ["b"], [node(*each) for each in zip(called, values, values[1:], strict=False)], OPSETS
    )


def node(called: str, read: str, made: str) -> onnx.NodeProto:
    return helper.make_node(called, [read], [made], domain="own" if called[0].islower() else "")


def model(path: Path, *functions: onnx.FunctionProto, called: str = "f0", within: bool = False) -> str:
    ends = [helper.make_tensor_value_info(name, 1, ["rows", 2]) for name in "xy"]
    nodes = [node(called, "x", "y")]
    if within:
        body = helper.make_graph(
            [node(called, "x", "inner")], "body", [], [helper.make_tensor_value_info("inner", 1, None)]
        )
        nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    return save(helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=9), path)


@pytest.mark.parametrize(
    "functions",
    [
        [("f0", "f0")],
        [("f0", "Sin", "f1"), ("f1", "f2"), ("f2", "Sin", "f1")],
        [("f0", "Sin"), ("unused", "unused")],
    ],
)
def test_functions_that_call_themselves_are_refused(tmp_path: Path, functions: list[tuple[str, ...]]):
    path = model(tmp_path / "m.onnx", *(function(*one) for one in functions))
    with pytest.raises(UsageError, match=r"its function own\.(f0|f1|f2|unused) calls itself"):
        check_model_file(path)


@pytest.mark.parametrize("within", [False, True])
def test_functions_that_double_are_refused(tmp_path: Path, within: bool):
    doubling = [function(f"f{at}", f"f{at + 1}", f"f{at + 1}") for at in range(40)]
    path = model(tmp_path / "m.onnx", *doubling, function("f40", "Sin"), within=within)
    with pytest.raises(
        UsageError, match=f"its functions make {2 ** (40 + within) + within:,} nodes when they are inlined"
    ):
        check_model_file(path)


def test_long_chains_are_refused(tmp_path: Path):
    chain = [function(f"f{at}", f"f{at + 1}") for at in range(20_000)]
    path = model(tmp_path / "m.onnx", *chain, function("f20000", "Sin"))
    with pytest.raises(UsageError, match="20,001 functions call one another in a chain"):
        check_model_file(path)


def test_functions_as_they_are_written_are_not(tmp_path: Path):
    path = model(tmp_path / "m.onnx", function("f0", "f1", "Sin", "f1"), function("f1", "Sin", "Cos"), within=True)
    check_model_file(path)
    check_functions(save(onnx_models.mlp(2), tmp_path / "plain.onnx"))
    (tmp_path / "cut.onnx").write_bytes(Path(path).read_bytes()[:-3])
    check_functions(str(tmp_path / "cut.onnx"))
