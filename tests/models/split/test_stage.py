from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph import saving
from beamsplit.models.running.session import ModelRunError, get_session
from beamsplit.models.split.chain import check_chain, difference_of, open_chain
from beamsplit.models.split.plan import read_plan
from beamsplit.models.split.stage import assign, extract_stage, save_stages
from tests import onnx_models
from tests.models.split.cutting import ONE_THREAD, chain_of, equal_cut, file_of, graph_of, plan_of
from tests.models.split.graphs import CASES, FLOAT, node, normal
from tests.onnx_models import build


def skips() -> onnx.ModelProto:
    """x -> a -> b -> c -> y, where y reads a and late too, and b is an output."""
    nodes = [
        node("Sin", ["x"], ["a"], name="a"),
        node("Exp", ["a"], ["b"], name="b"),
        node("Cos", ["b"], ["c"], name="c"),
        node("Sum", ["c", "a", "late"], ["y"], name="y"),
    ]
    inputs = [("x", FLOAT, ["batch", 4]), ("late", FLOAT, ["batch", 4])]
    return build(nodes, inputs, [("b", FLOAT, ["batch", 4]), ("y", FLOAT, ["batch", 4])])


def test_skips_late_inputs_and_early_outputs_pass_through(tmp_path: Path):
    graph = graph_of(skips(), tmp_path)
    plan = plan_of(graph, range(4))
    assert [(s.nodes, s.inputs, s.outputs, s.passes) for s in plan.stages] == [
        (("a",), ("x",), ("a",), ("late",)),
        (("b",), ("a",), ("b",), ("late",)),
        (("c",), ("b",), ("c",), ("a", "late")),
        (("y",), ("c", "a", "late"), ("y",), ("b",)),
    ]
    chain = chain_of(graph, range(4), tmp_path)
    assert chain.plan.inputs == ("x", "late") and chain.plan.outputs == ("b", "y")
    whole = get_session(file_of(skips(), tmp_path), ONE_THREAD)
    check = check_chain(whole, chain, {"x": normal(3, 4), "late": normal(3, 4, seed=1)})
    assert check.differences == {"b": 0, "y": 0}
    assert check.lines[0] == "b: largest difference 0 of its magnitude (at most 0.0001)"


def test_plan_file_names_the_stages(tmp_path: Path):
    graph = graph_of(CASES["shared_weights"]()[0], tmp_path)
    plan = save_stages(graph.model, plan_of(graph, equal_cut(graph, 3)), str(tmp_path / "out"))
    assert read_plan(str(tmp_path / "out" / "plan.json")) == plan
    assert [stage.file for stage in plan.stages] == ["stage-0.onnx", "stage-1.onnx", "stage-2.onnx"]
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["plan.json", "stage-0.onnx", "stage-1.onnx", "stage-2.onnx"]


def test_shared_weight_counts_in_each_stage(tmp_path: Path):
    graph = graph_of(CASES["shared_weights"]()[0], tmp_path)
    assert [stage.weight_bytes for stage in plan_of(graph, equal_cut(graph, 3)).stages] == [64, 64, 64]


def test_captured_weight_counts(tmp_path: Path):
    graph = graph_of(CASES["branches"]()[0], tmp_path)
    at = next(i for i, unit in enumerate(graph.units) if unit.nodes == ("If",))
    assert graph.units[at].weights == ("w",) and set(graph.units[at].reads) == {"positive", "captured", "other"}


def test_opset_ir_and_metadata_are_kept(tmp_path: Path):
    model = CASES["machine_learning"]()[0]
    model.producer_name = "theirs"
    model.metadata_props.add(key="author", value="them")
    graph = graph_of(model, tmp_path)
    for stage in plan_of(graph, equal_cut(graph, 2)).stages:
        made = extract_stage(graph.model, stage)
        assert made.ir_version == onnx_models.IR_VERSION and dict(made.opset_imports) == {"": 17, "ai.onnx.ml": 2}
        assert made.producer_name == "theirs" and made.metadata_props == {"author": "them"}


def test_large_weights_lie_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saving, "_EXTERNAL", 10_000)
    path = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=5), tmp_path / "m.onnx", external="w.bin")
    graph = graph_of(path, tmp_path)
    chain = chain_of(graph, equal_cut(graph, 3), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"stage-0.onnx", "stage-0.onnx.data"} <= names
    (tmp_path / "w.bin").unlink()
    for stage in chain.plan.stages:
        assert ort.InferenceSession(str(tmp_path / "out" / str(stage.file))), "each opens by itself"


@pytest.mark.parametrize("kind", ["input", "weight"])
def test_output_that_no_node_makes(kind: str, tmp_path: Path):
    nodes = [node("Sin", ["x"], ["a"]), node("Exp", ["a"], ["b"]), node("Add", ["b", "w"], ["y"])]
    outputs = [("y", FLOAT, ["batch", 4]), ("x" if kind == "input" else "w", FLOAT, None)]
    model = build(nodes, [("x", FLOAT, ["batch", 4])], outputs, {"w": normal(4)})
    graph = graph_of(model, tmp_path)
    whole = get_session(file_of(model, tmp_path), ONE_THREAD)
    check_chain(whole, chain_of(graph, (0, 1, 2), tmp_path), {"x": normal(3, 4)})


def test_int4_crosses_as_it_is_stored(tmp_path: Path):
    graph = graph_of(CASES["quantised_to_int4"]()[0], tmp_path)
    chain = chain_of(graph, equal_cut(graph, 3), tmp_path)
    crossing = [name for stage in chain.plan.stages for name in stage.inputs]
    assert crossing == ["x", "q", "n"]
    values = chain.sessions[0].signature.outputs
    assert [(spec.name, spec.dtype) for spec in values] == [("q", "int4")]


def test_quantised_tensors_cross_and_their_readers_unpack_them(tmp_path: Path):
    graph = graph_of(CASES["quantised"]()[0], tmp_path)
    stages = plan_of(graph, range(graph.most_stages)).stages
    crossing = {name for stage in stages for name in stage.inputs}
    assert not [name for name in crossing if name.startswith("d")], crossing
    assert {"q0", "q1", "q2", "q3"} <= crossing


def test_sizes_are_made_where_they_are_needed(tmp_path: Path):
    graph = graph_of(CASES["reshapes"]()[0], tmp_path)
    values = {value.name: value for one in graph.model.graph for value in one.outputs}
    for stages in (2, 3, 5):
        for stage in plan_of(graph, equal_cut(graph, stages)).stages[1:]:
            inner = [values[name] for name in stage.inputs if name in values]
            assert all(value.dtype.name == "FLOAT" for value in inner), [value.name for value in inner]


# Refusals.


def test_too_many_stages(tmp_path: Path):
    graph = graph_of(CASES["sequences"]()[0], tmp_path)
    graph.check_stages(8)
    with pytest.raises(UsageError) as caught:
        graph.check_stages(9)
    assert str(caught.value) == (
        "--stages 9: the model can be cut into at most 8 stages (it has 10 nodes; 3 nodes stay together by parts, "
        "which is Sequence(Tensor(FLOAT)) and cannot cross): use --stages 8"
    )


def test_nothing_to_cut(tmp_path: Path):
    single = graph_of(build([node("Sin", ["x"], ["y"])], [("x", FLOAT, [1])], [("y", FLOAT, [1])]), tmp_path)
    with pytest.raises(UsageError, match=r"at most 1 stage \(it has 1 node\): use --stages 1"):
        single.check_stages(2)
    empty = graph_of(build([], [("x", FLOAT, [1])], [("x", FLOAT, [1])]), tmp_path)
    with pytest.raises(UsageError, match="no nodes to cut between: score it whole"):
        empty.check_stages(1)


@pytest.mark.parametrize(
    ("stage_of", "said"),
    [
        ((0, 1), "stages are given for 2 units, but the model has 4"),
        ((0, 0, 2, 2), "stages [0, 2] are given, but each from 0 on needs a unit"),
        ((0, 1, 0, 1), "stage 0 reads b, which stage 1 makes"),
    ],
)
def test_no_such_choice(stage_of: tuple[int, ...], said: str, tmp_path: Path):
    graph = graph_of(skips(), tmp_path)
    with pytest.raises(UsageError) as caught:
        assign(graph, stage_of)
    assert said in str(caught.value)


def test_plan_of_another_model(tmp_path: Path):
    graph = graph_of(skips(), tmp_path)
    other = graph_of(onnx_models.mlp(), tmp_path)
    plan = plan_of(graph, (0, 0, 1, 1))
    with pytest.raises(UsageError, match="stage 0 cannot be cut out of the model"):
        save_stages(other.model, plan, str(tmp_path / "out"))
    broken = dataclasses.replace(plan.stages[0], nodes=("a",))
    with pytest.raises(UsageError, match="holds other nodes than the model"):
        extract_stage(graph.model, broken)
    assert list((tmp_path / "out").iterdir()) == []


def test_chain_unlike_the_whole(tmp_path: Path):
    model, other = onnx_models.mlp(), onnx_models.mlp(seed=1)
    graph = graph_of(other, tmp_path)
    chain = chain_of(graph, equal_cut(graph, 2), tmp_path / "out")
    whole = get_session(file_of(model, tmp_path), ONE_THREAD)
    with pytest.raises(UsageError, match="the stages do not give what the whole model gives: y: largest difference"):
        check_chain(whole, chain, {"x": normal(3, 4)})
    check_chain(whole, chain, {"x": normal(3, 4)}, tolerance=100)


def test_failing_stage_is_named(tmp_path: Path):
    nodes = [*onnx_models.picky().graph.node, node("Sin", ["y"], ["z"])]
    model = onnx_models.picky()
    model.graph.node.append(nodes[-1])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2]))
    graph = graph_of(model, tmp_path)
    chain = chain_of(graph, (0, 1), tmp_path)
    with pytest.raises(ModelRunError, match="stage 0: Gather node"):
        chain.run({"i": np.array([99])})


def test_stages_that_are_not_saved(tmp_path: Path):
    graph = graph_of(skips(), tmp_path)
    with pytest.raises(UsageError, match="stage 0 of the plan has no file"):
        open_chain(plan_of(graph, (0, 0, 1, 1)), str(tmp_path), ONE_THREAD)


def test_difference():
    nan, inf = np.nan, np.inf
    assert difference_of(np.array([1.0, 2.0]), np.array([1.0, 2.5])) == 0.25
    assert difference_of(np.array([nan, inf, 2.0]), np.array([nan, inf, 2.0])) == 0
    assert difference_of(np.array([nan, 1.0]), np.array([1.0, 1.0])) == inf
    assert difference_of(np.array([inf]), np.array([-inf])) == inf
    assert difference_of(np.array([1, 2]), np.array([1, 3])) == inf
    assert difference_of(np.array(["a", "b"], object), np.array(["a", "b"], object)) == 0
    assert difference_of(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert difference_of(np.zeros((0, 3)), np.zeros((0, 2))) == inf
    assert difference_of(np.zeros(3), np.full(3, 1e-3)) > 1
