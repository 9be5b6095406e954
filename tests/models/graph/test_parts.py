"""Bytes of weights, and of nodes whose attributes are as large as weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.graph import parts
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.parts import attribute_bytes, parts_of, weight_bytes
from tests import onnx_models
from tests.models.split.cutting import file_of

LEAST = parts._KEPT_ATTRIBUTE


@pytest.mark.parametrize("spare", [0, -1])
def test_a_node_with_large_attributes_counts_as_a_weight(tmp_path: Path, spare: int):
    """Half of the bytes in keys (8 each), a third in texts, and the rest in texts too."""
    keys = list(range(LEAST // 16))
    left = LEAST + spare - 8 * len(keys)
    texts = ["t" * (left // len(keys))] * (len(keys) - 1)
    texts.append("t" * (left - sum(map(len, texts))))
    nodes = [
        helper.make_node("Add", ["x", "w"], ["h"], name="add"),
        helper.make_node(
            "LabelEncoder", ["h"], ["y"], name="labels", domain="ai.onnx.ml", keys_int64s=keys, values_strings=texts
        ),
    ]
    given, made = [("x", TensorProto.INT64, ["n", 2])], [("y", TensorProto.STRING, ["n", 2])]
    model = onnx_models.build(nodes, given, made, {"w": np.arange(2)})
    graph = load_graph(file_of(model, tmp_path))
    found = parts_of(graph)
    assert attribute_bytes(found["labels"].node) == LEAST + spare and attribute_bytes(found["add"].node) == 0
    large = spare == 0
    assert found["labels"].weights == (("labels",) if large else ())
    assert weight_bytes(graph, found) == {"w": 16} | ({"labels": LEAST} if large else {})


def test_texts_among_weights_count_by_their_length(tmp_path: Path):
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], name="c", axis=0)]
    given, made = [("x", TensorProto.STRING, ["n"])], [("y", TensorProto.STRING, ["m"])]
    graph = load_graph(file_of(onnx_models.build(nodes, given, made, {"w": np.array(["a", "bcd"])}), tmp_path))
    assert weight_bytes(graph, parts_of(graph)) == {"w": 4}
