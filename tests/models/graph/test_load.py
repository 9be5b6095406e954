from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import DROP_ZIPMAP, DYNAMIC_ROWS, ModelFile
from beamsplit.models.split.stage import save_stages
from tests import onnx_models
from tests.models.split.cutting import check_cuts, equal_cut, file_of, graph_of, plan_of
from tests.models.split.graphs import CASES, FLOAT, node, normal
from tests.onnx_models import build, save


@pytest.mark.parametrize("name", CASES)
def test_every_value_has_a_type_and_every_node_a_name(name: str, tmp_path: Path):
    model, _ = CASES[name]()
    graph = load_graph(file_of(model, tmp_path)).graph
    names = [one.name for one in graph]
    assert all(names) and len(set(names)) == len(names)
    assert [value.name for one in graph for value in one.outputs if value.type is None] == []
    assert not [one for one in graph if one.op_type == "Constant"]
    places = {one: at for at, one in enumerate(graph)}
    for one, at in places.items():
        assert all(places[before] < at for before in one.predecessors())


@pytest.mark.parametrize("name", ["branches", "reshapes", "constants", "functions"])
def test_same_file_same_graph(name: str, tmp_path: Path):
    model, _ = CASES[name]()
    one, other = (graph_of(model, tmp_path) for _ in range(2))
    assert one == one and (one.units, one.recomputed, one.notes) == (other.units, other.recomputed, other.notes)


@pytest.mark.parametrize(
    ("kind", "anew"), [(TensorProto.INT64, True), (TensorProto.UINT8, True), (TensorProto.BOOL, True), (FLOAT, False)]
)
def test_what_is_made_of_integers_and_used_twice_is_made_in_each_stage(kind: int, anew: bool, tmp_path: Path):
    nodes = [
        node("Cast", ["m"], ["mask"], name="mask", to=TensorProto.DOUBLE),
        node("Mul", ["x", "mask"], ["a"], name="first"),
        node("Exp", ["a"], ["b"], name="between"),
        node("Mul", ["b", "mask"], ["y"], name="last"),
    ]
    ends = [("x", TensorProto.DOUBLE, ["n", 4]), ("m", kind, ["n", 4])], [("y", TensorProto.DOUBLE, ["n", 4])]
    made = [name for unit in graph_of(build(nodes, *ends), tmp_path).recomputed for name in unit.nodes]
    assert made == (["mask"] if anew else [])


def test_functions_are_inlined(tmp_path: Path):
    graph = load_graph(file_of(CASES["functions"]()[0], tmp_path))
    assert not graph.functions and "local" not in graph.opset_imports
    assert [one.op_type for one in graph.graph][-4:] == ["Sin", "Exp", "Sin", "Exp"]


def test_constants_of_every_kind_become_weights(tmp_path: Path):
    texts = {"value_string": "ö", "value_strings": ["a", "bc"]}
    numbers = {"value_int": 3, "value_ints": [1, 2], "value_float": 1.5, "value_floats": [0.5, 2.5]}
    nodes = [node("Constant", [], [kind], **{kind: value}) for kind, value in {**texts, **numbers}.items()]
    nodes += [node("Identity", [kind], [f"{kind}_out"]) for kind in {**texts, **numbers}]
    outputs = [(f"{kind}_out", TensorProto.STRING, None) for kind in texts]
    outputs += [(f"{kind}_out", TensorProto.INT64 if "int" in kind else FLOAT, None) for kind in numbers]
    model = build(nodes, [("x", FLOAT, [1])], outputs)
    graph = load_graph(file_of(model, tmp_path)).graph
    assert {one.op_type for one in graph} == {"Identity"}
    found = {name: value.const_value.numpy().tolist() for name, value in graph.initializers.items()}  # type: ignore[union-attr]
    assert found == {**numbers, "value_string": "ö".encode(), "value_strings": [b"a", b"bc"]}
    check_cuts(model, {"x": normal(1)}, tmp_path, ways=(2, 3))


def test_what_no_output_needs_is_dropped(tmp_path: Path):
    model, _ = CASES["branches"]()
    model.graph.node.append(node("If", ["positive"], ["dead"], **branches_of(model)))
    model.graph.node.append(node("Sin", ["dead"], ["deader"]))
    assert len(load_graph(file_of(model, tmp_path)).graph) == 7


def branches_of(model: onnx.ModelProto) -> dict[str, onnx.GraphProto]:
    chosen = next(one for one in model.graph.node if one.op_type == "If")
    return {attribute.name: attribute.g for attribute in chosen.attribute}


def test_nodes_in_any_order(tmp_path: Path):
    model, _ = CASES["shared_weights"]()
    nodes = list(reversed(model.graph.node))
    copies = [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    names = [one.op_type for one in load_graph(file_of(model, tmp_path)).graph]
    assert names[-1] == "MatMul" and len(names) == 7
    # ONNX Runtime wants them sorted, which the stages are.
    graph = graph_of(model, tmp_path)
    plan = save_stages(graph.model, plan_of(graph, equal_cut(graph, 2)), str(tmp_path))
    assert all(ort.InferenceSession(str(tmp_path / str(stage.file))) for stage in plan.stages)


def test_rewrites_come_first(tmp_path: Path):
    check_cuts(CASES["fixed_batch"]()[0], {"image": normal(3, 3, 4, 4)}, tmp_path, rewrites=(DYNAMIC_ROWS,))


# Refusals.


def refused(model: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        graph_of(model, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_maps_and_sequences_as_outputs(tmp_path: Path):
    said = refused(onnx_models.zipmap(), tmp_path)
    assert "output output_probability is a map" in said and DROP_ZIPMAP in said
    assert "output parts is Sequence(Tensor(FLOAT)), but only tensors" in refused(
        onnx_models.sequence_output(), tmp_path
    )


def test_unknown_operator(tmp_path: Path):
    nodes = [node("FlyToTheMoon", ["x"], ["m"], domain="com.example"), node("Sin", ["m"], ["y"])]
    model = build(nodes, [("x", FLOAT, [1])], [("y", FLOAT, [1])], extra_opsets={"com.example": 1})
    said = refused(model, tmp_path)
    assert "ONNX Runtime cannot load it" in said and "FlyToTheMoon" in said


def test_cycle(tmp_path: Path):
    nodes = [node("Add", ["x", "b"], ["a"]), node("Sin", ["a"], ["b"])]
    said = refused(build(nodes, [("x", FLOAT, [1])], [("b", FLOAT, [1])]), tmp_path)
    assert "nodes cannot be sorted" in said


def test_functions_of_another_opset(tmp_path: Path):
    model, _ = CASES["functions"]()
    model.functions[0].opset_import[0].version = 13
    assert "functions cannot be inlined" in refused(model, tmp_path)


def test_external_data_outside_the_folder(tmp_path: Path):
    os.makedirs(tmp_path / "in")
    path = save(onnx_models.mlp(), tmp_path / "in" / "m.onnx", external="w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w.bin"
    os.rename(tmp_path / "in" / "w.bin", tmp_path / "w.bin")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    with pytest.raises(UsageError, match="outside the model's folder"):
        load_graph(ModelFile(path))


# External data.


def test_external_data_stays_in_its_file(tmp_path: Path):
    path = save(onnx_models.mlp(4, 64, 2, layers=5), tmp_path / "m.onnx", external="w.bin")
    graph = load_graph(ModelFile(path))
    kinds = {type(value.const_value) for value in graph.graph.initializers.values()}
    assert kinds == {ir.ExternalTensor}
    check_cuts(path, {"x": normal(3, 4)}, tmp_path)


def test_external_data_through_links(tmp_path: Path):
    # As in a Hugging Face cache: the model's folder holds links to files elsewhere.
    os.makedirs(tmp_path / "blobs")
    os.makedirs(tmp_path / "snapshot")
    save(onnx_models.mlp(4, 64, 2, layers=5), tmp_path / "blobs" / "m.onnx", external="w.bin")
    for name in ("m.onnx", "w.bin"):
        os.symlink(tmp_path / "blobs" / name, tmp_path / "snapshot" / name)
    check_cuts(tmp_path / "snapshot" / "m.onnx", {"x": normal(3, 4)}, tmp_path)


def test_more_than_2_gb_is_never_held(tmp_path: Path):
    """Two weights of 1.2 GB in a file that is all hole: loading and cutting read none of it."""
    rows, width = 300_000, 1000
    path, data = tmp_path / "m.onnx", tmp_path / "w.bin"
    size = rows * width * 4
    with open(data, "wb") as file:
        file.truncate(2 * size)
    nodes = []
    tensors = []
    for i in range(2):
        nodes += [node("Gather", [f"w{i}", "i"], [f"g{i}"]), node("ReduceSum", [f"g{i}", "axes"], [f"s{i}"])]
        tensor = onnx.TensorProto(name=f"w{i}", data_type=FLOAT, dims=[rows, width])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "w.bin", "offset": i * size, "length": size}.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    nodes.append(node("Add", ["s0", "s1"], ["y"]))
    model = build(nodes, [("i", TensorProto.INT64, ["n"])], [("y", FLOAT, None)], {"axes": np.array([1], np.int64)})
    model.graph.initializer.extend(tensors)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["n", 1]))
    with open(path, "wb") as file:
        file.write(model.SerializeToString())

    graph = graph_of(str(path), tmp_path)
    plan = plan_of(graph, [0, 0, 1, 1, 1])
    assert sum(stage.weight_bytes for stage in plan.stages) >= 2 * size
    for name in ("w0", "w1"):
        tensor = graph.model.graph.initializers[name].const_value
        assert isinstance(tensor, ir.ExternalTensor) and tensor.raw is None, "not even mapped"
