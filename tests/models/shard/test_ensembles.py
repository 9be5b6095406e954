"""Tree ensembles that Hypothesis makes, by trees: ways to add up, to transform and to vote, and what stays whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.models.shard.sharding import check
from tests.onnx_models import build
from tests.runtime_version import needs_new_runtime

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
FEATURES = 3
SHARDS = st.integers(2, 4)
POSTS = ["NONE", "SOFTMAX", "LOGISTIC"]


def forest(depths: list[int], targets: int, role: str, seed: int, leaves: str = "any") -> dict[str, Any]:
    """Attributes of full trees of these depths.

    A leaf has weights for `"any"` target, for `"all"` of them, or for that of its tree in turn (`"boosted"`).
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {f"nodes_{name}": [] for name in (
        "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")}  # fmt: skip
    found |= {f"{role}_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree, depth in enumerate(depths):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2**depth - 1
            found["nodes_treeids"].append(tree)
            found["nodes_nodeids"].append(node)
            found["nodes_featureids"].append(int(rng.integers(FEATURES)))
            found["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            found["nodes_values"].append(float(rng.standard_normal()))
            found["nodes_truenodeids"].append(0 if leaf else 2 * node + 1)
            found["nodes_falsenodeids"].append(0 if leaf else 2 * node + 2)
            said = {"any": [int(rng.integers(targets))], "all": [*range(targets)], "boosted": [tree % targets]}[leaves]
            for target in said if leaf else ():
                found[f"{role}_treeids"].append(tree)
                found[f"{role}_nodeids"].append(node)
                found[f"{role}_ids"].append(target)
                found[f"{role}_weights"].append(float(rng.standard_normal()))
    return found


def rows(seed: int, count: int = 20) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)}


@settings(deadline=None, max_examples=40)
@given(
    depths=st.lists(st.integers(1, 3), min_size=1, max_size=7),
    targets=st.integers(1, 3),
    leaves=st.sampled_from(["any", "all", "boosted"]),
    aggregate=st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
    post=st.sampled_from(POSTS),
    based=st.booleans(),
    shards=SHARDS,
)
def test_regressors(depths: list[int], targets: int, leaves: str, aggregate: str, post: str, based: bool, shards: int):
    attributes = forest(depths, targets, "target", len(depths), leaves)
    if based:
        attributes["base_values"] = [0.5 * (k + 1) for k in range(targets)]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform=post,
        **attributes,
    )
    proto = build(
        [node], [("x", FLOAT, ["n", FEATURES])], [("y", FLOAT, ["n", targets])], extra_opsets={"ai.onnx.ml": 3}
    )
    sharding = check(proto, rows(1), shards, rows(2, 1))
    if (post == "NONE" and not based) or targets == 1 or leaves == "all":
        plain = aggregate in ("SUM", "AVERAGE") and (post == "NONE" or targets > 1)
        assert bool(sharding.decisions) == (len(depths) >= shards and plain)


@needs_new_runtime
@settings(deadline=None, max_examples=40)
@given(
    depths=st.lists(st.integers(1, 3), min_size=1, max_size=7),
    classes=st.integers(2, 4),
    names=st.booleans(),
    leaves=st.sampled_from(["any", "all", "boosted"]),
    positive=st.booleans(),
    post=st.sampled_from(POSTS),
    based=st.booleans(),
    shards=SHARDS,
)
def test_classifiers(
    depths: list[int], classes: int, names: bool, leaves: str, positive: bool, post: str, based: bool, shards: int
):
    """Two classes are made of one score, as exporters have it."""
    attributes = forest(depths, 1 if classes == 2 else classes, "class", len(depths), leaves)
    if positive:
        attributes["class_weights"] = [abs(weight) for weight in attributes["class_weights"]]
    if based:
        attributes["base_values"] = [0.25] if classes == 2 else [0.25 * (k + 1) for k in range(classes)]
    labels = {"classlabels_strings": ["ant", "bee", "cat", "dog"][:classes]} if names else {}
    labels |= {} if names else {"classlabels_int64s": list(range(10, 10 + classes))}
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        post_transform=post,
        **labels,
        **attributes,
    )
    outputs = [("label", TensorProto.STRING if names else INT64, ["n"]), ("scores", FLOAT, ["n", classes])]
    proto = build([node], [("x", FLOAT, ["n", FEATURES])], outputs, extra_opsets={"ai.onnx.ml": 3})
    sharding = check(proto, rows(1), shards, rows(2, 1))
    if classes == 2:
        assert bool(sharding.decisions) == (len(depths) >= shards and post != "SOFTMAX")
    elif leaves == "all" or (leaves == "boosted" and len(depths) >= classes):
        assert bool(sharding.decisions) == (len(depths) >= shards)


def test_two_classes_with_scores_of_their_own_stay_whole():
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        **forest([2, 2, 2], 2, "class", 1, "all"),
    )
    outputs = [("label", INT64, ["n"]), ("scores", FLOAT, ["n", 2])]
    proto = build([node], [("x", FLOAT, ["n", FEATURES])], outputs, extra_opsets={"ai.onnx.ml": 3})
    assert not check(proto, rows(1), 2).decisions


@settings(deadline=None, max_examples=20)
@given(depths=st.lists(st.integers(1, 3), min_size=1, max_size=7), targets=st.integers(1, 3), shards=SHARDS)
def test_ensembles_of_ml_5(depths: list[int], targets: int, shards: int):
    proto = ensemble_of_ml_5(depths, targets)
    sharding = check(proto, rows(1), shards, rows(2, 1))
    assert bool(sharding.decisions) == (len(depths) >= shards)


def ensemble_of_ml_5(depths: list[int], targets: int) -> onnx.ModelProto:
    """Full trees of these depths, whose nodes and leaves are numbered through all trees."""
    rng = np.random.default_rng(len(depths))
    roots, true_ids, true_leafs, false_ids, false_leafs = [], [], [], [], []
    leaves = 0
    for depth in depths:
        start = len(true_ids)
        roots.append(start)
        inner = 2**depth - 1
        for node in range(inner):
            for side, ids, leafs in ((1, true_ids, true_leafs), (2, false_ids, false_leafs)):
                child = 2 * node + side
                leafs.append(int(child >= inner))
                ids.append(leaves if child >= inner else start + child)
                leaves += child >= inner
    count = len(true_ids)
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function=1,
        post_transform=0,
        tree_roots=roots,
        nodes_splits=onnx.numpy_helper.from_array(rng.standard_normal(count).astype(np.float32)),
        nodes_featureids=rng.integers(0, FEATURES, count).tolist(),
        nodes_modes=onnx.numpy_helper.from_array(np.zeros(count, np.uint8)),
        nodes_truenodeids=true_ids,
        nodes_trueleafs=true_leafs,
        nodes_falsenodeids=false_ids,
        nodes_falseleafs=false_leafs,
        leaf_targetids=rng.integers(0, targets, leaves).tolist(),
        leaf_weights=onnx.numpy_helper.from_array(rng.standard_normal(leaves).astype(np.float32)),
    )
    ends = [("x", FLOAT, ["n", FEATURES])], [("y", FLOAT, ["n", targets])]
    return build([node], *ends, extra_opsets={"ai.onnx.ml": 5})
