from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.split.annotations import annotate, read_annotated_plan, read_stages, save_annotated
from beamsplit.models.split.cuts import split_graph
from tests import onnx_models
from tests.models.split.cutting import equal_cut, graph_of, plan_of
from tests.models.split.graphs import CASES


@pytest.mark.parametrize("name", ["shared_weights", "reshapes", "branches", "quantised"])
def test_plan_survives_the_model(name: str, tmp_path: Path):
    model, feeds = CASES[name]()
    graph = graph_of(model, tmp_path)
    stage_of = equal_cut(graph, 3)
    plan = plan_of(graph, stage_of)
    path = str(tmp_path / "annotated.onnx")
    save_annotated(graph.model, plan, path)

    again = load_graph(ModelFile(path))
    assert read_annotated_plan(again) == plan
    assert read_stages(split_graph(again)) == tuple(stage_of)
    assert read_annotated_plan(graph.model) is None and read_stages(graph) is None, "the model given is unchanged"

    # The standard's own words, as any reader of ONNX sees them; and ONNX Runtime still opens it.
    proto = onnx.load(path)
    assert proto.ir_version >= 11
    assert [(one.name, one.num_devices) for one in proto.configuration] == [("beamsplit", 3)]
    found = {node.name: [one.pipeline_stage for one in node.device_configurations] for node in proto.graph.node}
    for node, stages in found.items():
        assert stages == [min(stage.index for stage in plan.stages if node in stage.nodes)]
    session = ort.InferenceSession(path)
    whole = ort.InferenceSession(tmp_path / "model.onnx")
    for one, other in zip(session.run(None, feeds), whole.run(None, feeds), strict=True):
        np.testing.assert_array_equal(one, other)


def by_another_tool(stages: dict[str, int], folder: Path) -> ir.Model:
    """x -> fc0 -> act0 -> fc1 -> act1 -> fc2 -> y with the stages given, by node."""
    model = onnx_models.mlp()
    for node, name in zip(model.graph.node, ["fc0", "act0", "fc1", "act1", "fc2"], strict=True):
        node.name = name
        if name in stages:
            node.device_configurations.add(configuration_id="theirs", pipeline_stage=stages[name])
    model.configuration.add(name="theirs", num_devices=4)
    model.ir_version = 11
    path = folder / "theirs.onnx"
    onnx.save(model, str(path))
    return load_graph(ModelFile(str(path)))


def test_stages_of_another_tool(tmp_path: Path):
    # Stages 1 and 3 are numbered anew; fc1, act1 and fc2 without a stage go where what they read is made.
    graph = split_graph(by_another_tool({"fc0": 1, "act0": 1, "fc1": 3}, tmp_path))
    assert read_stages(graph) == (0, 0, 1, 1, 1)
    assert read_stages(graph, "ours") is None


def test_a_configuration_that_says_nothing_of_stages_is_passed_over(tmp_path: Path):
    model = by_another_tool({"fc0": 0, "act0": 0, "fc1": 1}, tmp_path)
    proto = ir.to_proto(model)
    proto.configuration.insert(0, type(proto.configuration[0])())
    proto.configuration[0].name, proto.configuration[0].num_devices = "devices only", 2
    onnx.save(proto, str(tmp_path / "two.onnx"))
    graph = split_graph(load_graph(ModelFile(str(tmp_path / "two.onnx"))))
    assert read_stages(graph) == read_stages(graph, "theirs") == (0, 0, 1, 1, 1)
    assert read_stages(graph, "devices only") is None


def test_stages_out_of_order(tmp_path: Path):
    graph = split_graph(by_another_tool({"fc0": 0, "act0": 2, "fc1": 1}, tmp_path))
    with pytest.raises(
        UsageError,
        match="configuration 'theirs' puts fc1 in stage 1, but it reads r0, which stage 2 makes: give it stage 2",
    ):
        read_stages(graph)


def test_stages_that_part_what_stays_together(tmp_path: Path):
    model, _ = CASES["sequences"]()
    model.configuration.add(name="theirs", num_devices=2)
    model.ir_version = 11
    for node in model.graph.node:
        node.name = node.output[0]
        stage = int(node.op_type == "SequenceAt")
        node.device_configurations.add(configuration_id="theirs", pipeline_stage=stage)
    graph = graph_of(model, tmp_path)
    with pytest.raises(UsageError, match="puts joined in stage 0, part in stage 1, but these stay together"):
        read_stages(graph)


def test_what_others_say_is_kept(tmp_path: Path):
    graph = split_graph(by_another_tool({"fc0": 0, "act0": 0, "fc1": 1}, tmp_path))
    plan = plan_of(graph, equal_cut(graph, 2))
    copy = annotate(annotate(graph.model, plan), plan)
    assert [one.name for one in copy.device_configurations] == ["theirs", "beamsplit"]
    first = next(iter(copy.graph))
    assert [(c.configuration.name, c.pipeline_stage) for c in first.device_configurations if c.configuration] == [
        ("theirs", 0),
        ("beamsplit", 0),
    ]
