"""Where models may be cut and what their stages hold, in cuts.txt.

`python -m tests.models.split.recorded_cuts` records it. A case is a model and what is told of it:

    units           each unit: its nodes (what it reads, weights -> what it makes); then what is recomputed, and notes
    stages 0,0,1    each stage where the units are put so: its nodes (inputs -> outputs, what passes; bytes of weights)
    stages 3        the same where as many units are in each
    problem         what the solver is given (nodes take 1, 2, 4, ... s, and values 10, 20, ... bytes): seconds
                    of units; bytes of each value, by whom and for whom (! an output); of each weight, for whom; of
                    activations
    problem a,b     the same with these nodes repeated in each stage that needs them

Models are those of graphs.py, or written here as nodes: `made = Op(read, #weight)`, with the inputs first.
"""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from beamsplit.models.cost.profile import Profile
from beamsplit.models.errors import UsageError
from beamsplit.models.split.cuts import SplitGraph, Unit, split_graph
from beamsplit.models.split.plan import StagePlan
from beamsplit.models.split.problem import make_problem, unit_seconds
from beamsplit.models.split.stage import assign
from tests import onnx_models
from tests.models.split.cutting import equal_cut, graph_of
from tests.models.split.graphs import CASES
from tests.recorded import Recorded

_NODE = re.compile(r"(\S+) = (\w+)\(([^)]*)\)(.*)")


def written(text: str) -> onnx.ModelProto:
    """A model: `x:f[n,4] m:i[n]; a = MatMul(x, #w[4,4]); ...`; what nobody reads, or ends in `!`, is an output."""
    given, *lines = (part.strip() for part in text.split(";"))
    inputs = []
    for one in given.split():
        name, kind, dims = re.fullmatch(r"(\w+):(\w)\[(.*)\]", one).groups()  # type: ignore[union-attr]
        shape = [int(dim) if dim.isdigit() else dim for dim in dims.split(",") if dim]
        inputs.append((name, {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}[kind], shape))
    nodes, weights, made, read = [], {}, [], set()
    for line in lines:
        outputs, op, taken, more = _NODE.fullmatch(line).groups()  # type: ignore[union-attr]
        names = []
        for one in re.split(r",\s+", taken):
            if one.startswith("#"):
                name, kind, dims = re.fullmatch(r"#(\w+?)(_i)?\[(.*)\]", one).groups()  # type: ignore[union-attr]
                shape = [int(dim) for dim in dims.split(",") if dim]
                weights[name] = np.ones(shape, np.int64 if kind else np.float32)
                one = name
            names.append(one)
        read |= set(names)
        attributes = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", more)}
        made += outputs.split(",")
        nodes.append(helper.make_node(op, names, outputs.split(","), name=f"{op}.{outputs}", **attributes))
    keeps = [one for one in made if one.endswith("!") or one not in read]
    for node in nodes:
        node.output[:] = [one.rstrip("!") for one in node.output]
        node.input[:] = [one.rstrip("!") for one in node.input]
    outputs = [(one.rstrip("!"), TensorProto.UNDEFINED, None) for one in keeps]
    model = onnx_models.build(nodes, inputs, [(name, TensorProto.FLOAT, None) for name, *_ in outputs], weights)
    typed = onnx.shape_inference.infer_shapes(model).graph
    kinds = {one.name: one.type for one in [*typed.value_info, *typed.input]}
    for one in model.graph.output:
        if one.name in kinds:
            one.type.CopyFrom(kinds[one.name])
    return model


@functools.cache
def graph(name: str) -> SplitGraph:
    """The units of a model."""
    with tempfile.TemporaryDirectory() as folder:
        return graph_of(CASES[name]()[0] if name in CASES else written(name), Path(folder))


def said(line: str) -> str:
    """What is told of a case."""
    name, _, asked = line.rpartition(" | ")
    one = graph(name)
    if asked == "units":
        parts = [*map(_unit, one.units), *(f"again {_unit(unit)}" for unit in one.recomputed), *one.notes]
        return " ".join(parts)
    if asked.startswith("problem"):
        again = set(filter(None, asked.removeprefix("problem").strip().split(",")))
        return _problem(split_graph(one.model, again) if again else one)
    where = asked.removeprefix("stages ")
    try:
        cut = [int(at) for at in where.split(",")] if "," in where else equal_cut(one, int(where))
        return " ".join(map(_stage, assign(one, cut)))
    except UsageError as error:
        return f"! {error}"


def _problem(one: SplitGraph) -> str:
    nodes = {str(node.name): float(1 << at) for at, node in enumerate(one.model.graph)}
    named = [*one.inputs, *(made for part in one.parts.values() for made in part.makes)]
    profile = Profile(8, nodes, {name: 10.0 * (at + 1) for at, name in enumerate(named)}, sum(nodes.values()))
    made = make_problem(one, profile, unit_seconds(one, profile))
    values = [
        f"{each.nbytes:.0f}@{each.producer}>{','.join(map(str, each.consumers))}{'!' * each.is_output}"
        for each in made.values
    ]
    weights = [f"{each.nbytes:.0f}>{','.join(map(str, each.users))}" for each in made.weights]
    parts = [map("{:.0f}".format, made.seconds), values, weights, map("{:.0f}".format, made.activation_bytes)]
    return "; ".join(map(" ".join, parts))


def _unit(unit: Unit) -> str:
    taken = [*unit.reads, *(f"#{one}" for one in unit.weights)]
    return f"{'+'.join(unit.nodes)}({','.join(taken)} -> {','.join(unit.makes)})"


def _stage(stage: StagePlan) -> str:
    passes = f" past {','.join(stage.passes)}" if stage.passes else ""
    ends = f"{','.join(stage.inputs)} -> {','.join(stage.outputs)}{passes}"
    return f"{stage.index}: {'+'.join(stage.nodes)}({ends}; {stage.weight_bytes})"


RECORDED = Recorded(Path(__file__).parent / "cuts.txt", said)

if __name__ == "__main__":
    RECORDED.main()
