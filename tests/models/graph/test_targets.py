from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.targets import _target, _width
from tests.models.split.cutting import check_cuts, file_of, graph_of, plan_of
from tests.models.split.graphs import FLOAT, node, normal
from tests.onnx_models import build


def heads(allowzero: int = 0) -> onnx.ModelProto:
    """Tokens given heads by a target computed from the sizes of the input, and put together again."""
    nodes = [
        node("Sin", ["x"], ["s"]),
        node("Shape", ["x"], ["size"]),
        node("Slice", ["size", "v0", "v2"], ["lead"]),
        node("Concat", ["lead", "heads"], ["to"], axis=0),
        node("Reshape", ["s", "to"], ["four"], allowzero=allowzero),
        node("Tanh", ["four"], ["t"]),
        node("Reshape", ["t", "size"], ["y"], allowzero=allowzero),
    ]
    weights = {"v0": np.array([0], np.int64), "v2": np.array([2], np.int64), "heads": np.array([2, -1], np.int64)}
    shape = ["batch", "sequence", 8]
    return build(nodes, [("x", FLOAT, shape)], [("y", FLOAT, shape)], weights)


@pytest.mark.parametrize("allowzero", [0, 1])
def test_sizes_need_not_travel(allowzero: int, tmp_path: Path):
    graph = graph_of(heads(allowzero), tmp_path)
    assert [part.node.op_type for part in graph.parts.values()] == ["Sin", "Reshape", "Tanh", "Reshape"]
    assert [stage.inputs for stage in plan_of(graph, (0, 1, 2, 3)).stages] == [("x",), ("s",), ("four",), ("t",)]
    for rows, length in ((2, 5), (3, 1)):
        check_cuts(heads(allowzero), {"x": normal(rows, length, 8)}, tmp_path, ways=(2,))


def test_recorded_numbers_are_not_relied_on(tmp_path: Path):
    # The exporter recorded the 4 of its own example; only the 2 follows from the operators.
    nodes = [
        node("NonZero", ["x"], ["at"]),
        node("Shape", ["at"], ["size"]),
        node("Sin", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["first"]),
        node("Expand", ["first", "size"], ["wide"]),
        node("Reshape", ["wide", "size"], ["y"]),
    ]
    inputs, outputs = [("x", FLOAT, ["n", "n"])], [("y", FLOAT, [None, None])]
    model = build(nodes, inputs, outputs, {"zero": np.array([0], np.int64)})
    for name in ("wide", "y"):
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]))
    target = list(load_graph(file_of(model, tmp_path)).graph)[-1].inputs[1]
    assert target is not None and target.const_value is not None
    assert target.const_value.numpy().tolist() == [2, -1]


@pytest.mark.parametrize(
    ("before", "after", "target"),
    [
        ([["b", 8]], ["b", 2, 4], [0, 2, 4]),
        ([["b", "s", 8]], ["b", "s", 8], [0, 0, 8]),
        ([["b", "s", 8]], ["s", "b", 8], None),
        ([["b", "s", 8]], ["t", 8], [-1, 8]),
        ([["?", "s", 8], ["b", "s", 8]], ["b", "", 2, 4], [0, -1, 2, 4]),
        ([["b", "s", 8]], ["", ""], None),
        ([["b", 0]], ["b", 0], None),
        ([], ["b", 3], [-1, 3]),
        ([["b"]], [], []),
        ([["b"]], None, None),
    ],
)
def test_target(before: list[list[int | str]], after: list[int | str] | None, target: list[int] | None):
    assert _target(before, after) == target


@pytest.mark.parametrize(
    ("before", "after", "target"),
    [
        ([["b", 1]], ["b", 4], [1, 4]),
        ([["s", 1]], ["b", "s", 4], None),
        ([["s", 1]], [3, "s", 4], [3, 1, 4]),
        ([["", 1], ["b", 1]], ["b", 4], [1, 4]),
        ([[1]], ["b"], None),
        ([["b"]], None, None),
    ],
)
def test_width(before: list[list[int | str]], after: list[int | str] | None, target: list[int] | None):
    assert _width(before, after) == target


def test_expand_needs_no_size_of_an_input(tmp_path: Path):
    nodes = [
        node("Shape", ["x"], ["size"]),
        node("Sin", ["x"], ["s"]),
        node("ReduceMean", ["s"], ["mean"], axes=[1]),
        node("Tanh", ["mean"], ["t"]),
        node("Expand", ["t", "size"], ["wide"]),
        node("Cos", ["wide"], ["y"]),
    ]
    model = build(nodes, [("x", FLOAT, ["batch", 8])], [("y", FLOAT, ["batch", 8])])
    graph = graph_of(model, tmp_path)
    assert [stage.inputs for stage in plan_of(graph, (0, 0, 0, 1, 1)).stages] == [("x",), ("t",)]
    check_cuts(model, {"x": normal(3, 8)}, tmp_path)
