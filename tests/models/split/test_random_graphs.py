"""Any graph, cut anywhere: the chain gives what the whole gives, and no stage holds more than it needs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from beamsplit.models.graph.load import load_graph
from beamsplit.models.running.session import get_session
from beamsplit.models.split.chain import check_chain
from beamsplit.models.split.cuts import SplitGraph, split_graph
from tests.models.split.cutting import ONE_THREAD, chain_of, file_of, plan_of
from tests.onnx_models import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
KINDS = ["Tanh", "Cos", "Add", "Mul", "MatMul", "If", "Reshape", "Quantise", "Mask", "Concat", "Sequence"]


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Every tensor is float32[batch, 4] but for the insides of a kind of node; some nodes lead nowhere."""
    inputs = [f"x{i}" for i in range(draw(st.integers(1, 3)))]
    values = list(inputs)
    nodes: list[onnx.NodeProto] = []

    def add(op: str, read: list[str], made: str, **attributes: object) -> None:
        nodes.append(helper.make_node(op, read, [made], **attributes))

    for i in range(draw(st.integers(2, 12))):
        kind, out = draw(st.sampled_from(KINDS)), f"v{i}"
        # Skips of any length, but most nodes read what was made last.
        a = draw(st.sampled_from([values[-1], values[-1], *values]))
        b = draw(st.sampled_from(values))
        if kind in ("Tanh", "Cos"):
            add(kind, [a], out)
        elif kind in ("Add", "Mul"):
            add(kind, [a, b], f"{out}_s")
            add("Tanh", [f"{out}_s"], out)
        elif kind == "MatMul":
            add(kind, [a, draw(st.sampled_from(["w0", "w1"]))], f"{out}_m")
            add("Tanh", [f"{out}_m"], out)
        elif kind == "If":
            bodies = {}
            for name, read in (("then", a), ("else", b)):
                body = [helper.make_node("MatMul", [read, "w0"], [f"{out}_{name}"])]
                result = helper.make_tensor_value_info(f"{out}_{name}", FLOAT, None)
                bodies[f"{name}_branch"] = helper.make_graph(body, name, [], [result])
            add("ReduceSum", [b], f"{out}_r", keepdims=0)
            add("Greater", [f"{out}_r", "zero"], f"{out}_g")
            add("If", [f"{out}_g"], out, **bodies)
        elif kind == "Reshape":
            add("Shape", [b], f"{out}_size")
            add("Reshape", [a, "flat"], f"{out}_f")
            add("Sin", [f"{out}_f"], f"{out}_t")
            add("Reshape", [f"{out}_t", f"{out}_size"], out)
        elif kind == "Quantise":
            add("QuantizeLinear", [a, "scale"], f"{out}_q")
            add("DequantizeLinear", [f"{out}_q", "scale"], out)
        elif kind == "Mask":
            add("Cast", ["mask"], f"{out}_c", to=FLOAT)
            add("Mul", [a, f"{out}_c"], out)
        elif kind == "Concat":
            add("Concat", [a, b], f"{out}_c", axis=1)
            add("Gather", [f"{out}_c", "even"], out, axis=1)
        else:
            nodes.append(helper.make_node("SequenceConstruct", [a, b], [f"{out}_l"]))
            add("SequenceAt", [f"{out}_l", "one"], out)
        values.append(out)
    results = {values[-1], *draw(st.sets(st.sampled_from(values[len(inputs) :]), max_size=2))}
    for node in nodes:
        # Any inner tensor may be an output too, also one that would be recomputed.
        if draw(st.integers(0, 15)) == 0 and node.output[0].endswith(("_c", "_size", "_q", "_t")):
            results.add(node.output[0])
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.standard_normal((4, 4), np.float32),
        "w1": rng.standard_normal((4, 4), np.float32),
        "zero": np.array(0, np.float32),
        "scale": np.array(0.1, np.float32),
        "flat": np.array([-1], np.int64),
        "even": np.array([0, 2, 4, 6], np.int64),
        "one": np.array(1, np.int64),
    }
    given_inputs = [(name, FLOAT, ["batch", 4]) for name in inputs] + [("mask", INT64, ["batch", 1])]
    model = build(nodes, given_inputs, [], weights)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(results))
    inferred = onnx.shape_inference.infer_shapes(model)
    model.graph.output.clear()
    known = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.output]}
    model.graph.output.extend(known[name] for name in sorted(results))
    return model


def draw_stages(draw: st.DrawFn, graph: SplitGraph) -> list[int]:
    """Stages for the units: no unit before what it reads, but not always in the units' order."""
    wished = [draw(st.integers(0, 4)) for _ in graph.units]
    made: dict[str, int] = {}
    stages = []
    for unit, wish in zip(graph.units, wished, strict=True):
        stage = max([wish, *(made[name] for name in unit.reads if name in made)])
        made |= dict.fromkeys(unit.makes, stage)
        stages.append(stage)
    numbers = {stage: number for number, stage in enumerate(sorted(set(stages)))}
    return [numbers[stage] for stage in stages]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graphs(), st.data())
def test_any_cut_of_any_graph(model: onnx.ModelProto, data: st.DataObject):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = file_of(model, folder)
        graph = split_graph(load_graph(file))
        alone = [unit.nodes[0] for unit in graph.units if len(unit.nodes) == 1]
        alone = [node for node in alone if set(graph.outputs).isdisjoint(graph.parts[node].makes)]
        if alone:
            graph = split_graph(graph.model, data.draw(st.sets(st.sampled_from(alone), max_size=3)))
        stage_of = draw_stages(data.draw, graph)
        plan = plan_of(graph, stage_of)
        rng = np.random.default_rng(1)
        feeds = {value.name: rng.standard_normal((3, 4), np.float32) for value in model.graph.input}
        feeds["mask"] = np.array([[1], [0], [1]])
        whole = get_session(file, ONE_THREAD)
        check_chain(whole, chain_of(graph, stage_of, folder / "stages"), feeds)

    made: set[str] = set(graph.inputs)
    weights = {weight for part in graph.parts.values() for weight in part.weights}
    for stage in plan.stages:
        read = {name for node in stage.nodes for name in graph.parts[node].reads}
        inside = {name for node in stage.nodes for name in graph.parts[node].makes}
        assert set(stage.inputs) <= read - inside and set(stage.outputs) <= inside
        assert set(stage.inputs) | set(stage.passes) <= made
        assert set(stage.inputs).isdisjoint(stage.passes)
        held = {weight for node in stage.nodes for weight in graph.parts[node].weights}
        assert stage.weight_bytes == sum(graph.weight_bytes[weight] for weight in held) and held <= weights
        made |= set(stage.outputs)
    assert made.issuperset(graph.outputs)
    last = plan.stages[-1]
    assert set(graph.outputs) <= {*last.outputs, *last.passes, *last.inputs}
