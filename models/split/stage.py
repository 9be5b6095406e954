"""Stages: what each one holds and reads, cut out of the graph as models of their own, and written to files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.parts import NodeView
from beamsplit.models.graph.saving import save_models
from beamsplit.models.split.cuts import SplitGraph, can_cross
from beamsplit.models.split.plan import Plan, StagePlan, to_json
from beamsplit.models.split.recompute import LIGHT, is_op


def assign(graph: SplitGraph, stage_of: Sequence[int]) -> tuple[StagePlan, ...]:
    """The stages that a choice for each unit gives, without predictions.

    Args:
        graph: the model.
        stage_of: for each of `graph.units` its stage; stages count from 0, each has a unit, and no unit is in an
            earlier stage than one that it reads from.

    Raises:
        UsageError: `stage_of` is no such choice.
    """
    _check_choice(graph, stage_of)
    stages = max(stage_of) + 1
    own: list[list[str]] = [[] for _ in range(stages)]
    for unit, at in zip(graph.units, stage_of, strict=True):
        own[at] += unit.nodes
    for cheaper in (True, False):
        plans = _plans(graph, own, cheaper)
        if all(plan.nodes for plan in plans):
            return plans
    raise AssertionError("each stage has the nodes of its units")


def _check_choice(graph: SplitGraph, stage_of: Sequence[int]) -> None:
    units = graph.units
    if len(stage_of) != len(units):
        raise UsageError(f"stages are given for {len(stage_of)} units, but the model has {len(units)}: plan it again")
    if not units or set(stage_of) != set(range(max(stage_of) + 1)):
        raise UsageError(f"stages {sorted(set(stage_of))} are given, but each from 0 on needs a unit: plan it again")
    made = {name: at for unit, at in zip(units, stage_of, strict=True) for name in unit.makes}
    for unit, at in zip(units, stage_of, strict=True):
        for name in unit.reads:
            if made.get(name, 0) > at:
                raise UsageError(
                    f"stage {at} reads {name}, which stage {made[name]} makes, but stages run in order: "
                    f"put node {unit.nodes[0]} into stage {made[name]} or later"
                )


def _plans(graph: SplitGraph, own: Sequence[Sequence[str]], cheaper: bool) -> tuple[StagePlan, ...]:
    parts = graph.parts
    maker = {made: name for name, part in parts.items() for made in part.makes}
    again = {name for unit in graph.recomputed for name in unit.nodes}
    home = {name: stage for stage, names in enumerate(own) for name in names}
    held: list[set[str]] = []
    read: list[dict[str, None]] = []
    for names in own:
        nodes, needs = _closed(names, parts, maker, again)
        if cheaper:
            nodes, needs = _made_anew(nodes, needs, parts, maker, graph.weight_bytes)
        held.append(nodes)
        read.append(needs)
    last = len(own) - 1
    # Backwards, so that what only a later stage needed, and makes anew itself, is left out.
    wanted = dict.fromkeys(name for name in graph.outputs)
    plans: list[StagePlan] = []
    for stage in range(last, -1, -1):
        mine = {made for name in own[stage] for made in parts[name].makes}
        stored = [n for n in graph.outputs if n not in maker and n not in graph.inputs] if stage == last else []
        outputs = [name for name in wanted if name in mine or name in stored]
        nodes = _needed(outputs, held[stage], parts, maker)
        reads = {r for name in nodes for r in parts[name].reads}
        inputs = [name for name in read[stage] if name in reads]
        for name in outputs:
            del wanted[name]
        passes = [
            name
            for name in wanted
            if name not in inputs and (home[maker[name]] < stage if name in maker else name in graph.inputs)
        ]
        wanted |= dict.fromkeys(inputs)
        in_order = tuple(name for name in parts if name in nodes)
        weights = dict.fromkeys(w for name in in_order for w in parts[name].weights) | dict.fromkeys(stored)
        total = sum(graph.weight_bytes[weight] for weight in weights)
        plans.append(StagePlan(stage, in_order, tuple(inputs), tuple(outputs), tuple(passes), total))
    return tuple(reversed(plans))


def _closed(
    names: Iterable[str], parts: Mapping[str, NodeView], maker: Mapping[str, str], again: set[str]
) -> tuple[set[str], dict[str, None]]:
    """The nodes with the recomputed ones that they need, and the tensors that come from outside."""
    nodes = set(names)
    needs: dict[str, None] = {}
    work = list(names)
    while work:
        for name in parts[work.pop()].reads:
            node = maker.get(name)
            if node is None or (node not in nodes and node not in again):
                needs.setdefault(name)
            elif node not in nodes:
                nodes.add(node)
                work.append(node)
    return nodes, needs


def _made_anew(
    nodes: set[str],
    needs: dict[str, None],
    parts: Mapping[str, NodeView],
    maker: Mapping[str, str],
    weight_bytes: Mapping[str, int],
) -> tuple[set[str], dict[str, None]]:
    """Leave out of the needs what a light node makes of the other needs: its compute is below its transfer."""
    here = {made for name in nodes for made in parts[name].makes} | set(needs)
    for name in sorted((maker[n] for n in needs if n in maker), key=lambda name: parts[name].index):
        part = parts[name]
        light = is_light(part.node) and sum(weight_bytes[w] for w in part.weights) < 1 << 16
        if light and part.reads and here.issuperset(part.reads):
            nodes = nodes | {name}
            needs = {need: None for need in needs if need not in part.makes}
    return nodes, needs


_ANEW = LIGHT - {"NonZero", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"} | {"Relu", "LeakyRelu"}


def is_light(node: ir.Node) -> bool:
    """Whether a later stage that has what the node reads makes its outputs anew, so that they need not cross."""
    return is_op(node, *_ANEW)


def _needed(
    outputs: Iterable[str], held: set[str], parts: Mapping[str, NodeView], maker: Mapping[str, str]
) -> set[str]:
    nodes: set[str] = set()
    work = list(outputs)
    while work:
        node = maker.get(work.pop())
        if node in held and node not in nodes:
            nodes.add(node)
            work += parts[node].reads
    return nodes


def extract_stage(model: ir.Model, stage: StagePlan) -> ir.Model:
    """The stage as a model of its own; weights are shared with `model`, not copied.

    Names, opset imports, IR version and metadata are kept.

    Raises:
        UsageError: the plan is not of this model.
    """
    try:
        graph = ir.convenience.extract(model.graph, stage.inputs, stage.outputs)
    except ValueError as error:
        raise UsageError(f"stage {stage.index} cannot be cut out of the model ({error}): plan it again") from None
    if {node.name for node in graph} != set(stage.nodes):
        raise UsageError(f"stage {stage.index} of the plan holds other nodes than the model: plan it again")
    for value in (*graph.inputs, *graph.outputs):
        if not can_cross(value):
            raise UsageError(f"{value.name} is {value.type} and cannot cross between stages: plan it again")
    return ir.Model(
        graph,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        metadata_props=dict(model.metadata_props),
        device_configurations=model.device_configurations,
    )


def save_stages(model: ir.Model, plan: Plan, folder: str) -> Plan:
    """Write `stage-0.onnx`, ... and plan.json; weights of large stages lie beside them, written one at a time.

    Each file opens by itself. The folder is made if need be; files get their names when all are written.

    Returns:
        The plan with the files' names in it, and the model's inputs and outputs.

    Raises:
        UsageError: the folder cannot be written, or the plan is not of this model.
    """
    stages = tuple(dataclasses.replace(stage, file=f"stage-{stage.index}.onnx") for stage in plan.stages)
    saved = dataclasses.replace(
        plan,
        stages=stages,
        inputs=tuple(str(value.name) for value in model.graph.inputs),
        outputs=tuple(str(value.name) for value in model.graph.outputs),
    )
    files = [(str(stage.file), partial(extract_stage, model, stage)) for stage in stages]
    save_models(files, lambda: to_json(saved), folder)
    return saved
