"""Embedding tables by rows, tree ensembles by trees, quantised layers by output channels, against the whole model."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn import ensemble

from tests.models.shard.numbers import numbers
from tests.models.shard.sharding import check, run_stages, sharded
from tests.models.shard.tables import FLOAT, INT64, NUMBER, THREE, X, quantised, table
from tests.onnx_models import build

SHARDS = st.integers(2, 4)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 13), width=st.integers(1, 4), shards=SHARDS, ids=st.sampled_from([INT64, TensorProto.INT32]))
def test_a_table_by_its_rows(rows: int, width: int, shards: int, ids: int):
    kind = np.int64 if ids == INT64 else np.int32
    every = np.arange(-rows, rows, dtype=kind).reshape(2, rows)
    check(table(rows, width, ids), {"i": every}, shards, {"i": every[:1, :1]})


@pytest.mark.parametrize("wrong", [8, -9])
def test_an_id_outside_the_table_fails_as_in_the_whole_model(wrong: int):
    _, stages = sharded(table(8, 2), {"i": np.zeros((2, 3), np.int64)}, 2)
    with pytest.raises(Exception, match=r"out of data bounds|out of range"):
        run_stages(stages, {"i": np.full((1, 1), wrong)}, ["y"])


def test_ids_that_lie_on_the_shards_are_joined_before_the_table():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["f"], name="f"),
        helper.make_node("Cast", ["f"], ["i"], to=INT64),
        helper.make_node("Gather", ["t", "i"], ["y"], name="look"),
    ]
    ends = [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4, 3])]
    proto = build(nodes, *ends, {"t": numbers(8, 3), "w": np.eye(4, dtype=np.float32)})
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    sharding = check(proto, {"x": x}, 2, {"x": x[:1]}, tolerance=0.0)
    assert {"f", "look"} <= sharding.decisions.keys() and "i" in sharding.joined


def test_a_table_whose_ids_are_constant_stays_whole():
    nodes = [helper.make_node("Gather", ["t", "i"], ["found"]), helper.make_node("Add", ["found", "x"], ["y"])]
    ends = [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])]
    proto = build(nodes, *ends, {"t": numbers(8, 3), "i": np.array([5])})
    x = np.ones((2, 3), np.float32)
    assert not check(proto, {"x": x}, 2, {"x": x[:1]}, tolerance=0.0).decisions


TWO = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
NAMES = np.array(["ant", "bee", "cat"])[THREE]

ENSEMBLES = {
    "forest": (ensemble.RandomForestRegressor(7, max_depth=4, random_state=0), NUMBER),
    "boosted": (ensemble.GradientBoostingRegressor(n_estimators=7, random_state=0), NUMBER),
    "histogram": (ensemble.HistGradientBoostingRegressor(max_iter=7, random_state=0), NUMBER),
    "boosted, two classes": (ensemble.GradientBoostingClassifier(n_estimators=7, random_state=0), TWO),
    "boosted, three classes": (ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0), THREE),
    "forest, two classes": (ensemble.RandomForestClassifier(7, max_depth=4, random_state=0), TWO),
    "forest, three classes": (ensemble.RandomForestClassifier(7, max_depth=4, random_state=0), THREE),
    "forest, names": (ensemble.RandomForestClassifier(7, max_depth=4, random_state=0), NAMES),
}


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_trees_of_scikit_learn(name: str, shards: int):
    estimator, target = ENSEMBLES[name]
    estimator.fit(X, target)
    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    proto = to_onnx(estimator, X[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    sharding = check(proto, {"X": X[:40]}, shards, {"X": X[40:]})
    assert sharding.sharded_bytes > 0


def trees(roots: int, *, aggregate: int = 1, post: int = 0) -> onnx.ModelProto:
    """TreeEnsemble of ai.onnx.ml 5: `roots` trees of one question and two leaves over two targets."""
    rng = np.random.default_rng(0)
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=2,
        aggregate_function=aggregate,
        post_transform=post,
        tree_roots=list(range(roots)),
        nodes_splits=onnx.numpy_helper.from_array(rng.standard_normal(roots).astype(np.float32)),
        nodes_featureids=[i % 3 for i in range(roots)],
        nodes_modes=onnx.numpy_helper.from_array(np.zeros(roots, np.uint8)),
        nodes_truenodeids=[2 * i for i in range(roots)],
        nodes_trueleafs=[1] * roots,
        nodes_falsenodeids=[2 * i + 1 for i in range(roots)],
        nodes_falseleafs=[1] * roots,
        leaf_targetids=[i % 2 for i in range(2 * roots)],
        leaf_weights=onnx.numpy_helper.from_array(rng.standard_normal(2 * roots).astype(np.float32)),
    )
    return build([node], [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 2])], extra_opsets={"ai.onnx.ml": 5})


@pytest.mark.parametrize("roots", [2, 5])
def test_trees_of_ml_5(roots: int):
    sharding = check(trees(roots), {"x": X[:50, :3]}, 2)
    assert sharding.sharded_bytes > 0


@pytest.mark.parametrize("changed", [{"aggregate": 2}, {"post": 1}])
def test_trees_that_do_more_than_add_up_stay_whole(changed: dict[str, int]):
    assert not check(trees(4, **changed), {"x": X[:50, :3]}, 2).decisions


@pytest.mark.parametrize("kind", ["MatMulInteger", "QLinearMatMul", "QDQ"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("shards", [2, 3])
def test_quantised_layers_by_output_channels(kind: str, per_channel: bool, shards: int):
    try:
        sharding = check(quantised(kind, 7, per_channel), {"x": X[:9, :1] * np.ones(6, np.float32)}, shards)
    except ort.capi.onnxruntime_pybind11_state.NotImplemented as error:
        pytest.skip(f"ONNX Runtime: {error}")
    assert sharding.sharded_bytes > 0
