"""The plan in the model itself: the device configuration of ONNX IR 11, and read back from any model that has one."""

from __future__ import annotations

import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.saving import save_alone
from beamsplit.models.shard.annotation import CONFIGURATION, PLAN_KEY, TREES_KEY
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.plan import Plan, from_json, to_json
from beamsplit.models.split.stage import is_light

_LEAST_IR = 11
"""The first with device configurations."""


def annotate(model: ir.Model, plan: Plan) -> ir.Model:
    """A copy of the model that carries the plan; weights are shared with `model`.

    Each node gets its stage as `pipeline_stage` (a recomputed one the first that holds it), the model a
    configuration with a device a stage, and its metadata the plan itself. What other configurations say is kept.
    """
    copy = model.clone()
    copy.ir_version = max(copy.ir_version, _LEAST_IR)
    names = tuple(stage.workers[0] if stage.workers else f"stage-{stage.index}" for stage in plan.stages)
    ours = ir.ModelConfiguration(CONFIGURATION, len(plan.stages), names)
    others = tuple(one for one in copy.device_configurations if one.name != CONFIGURATION)
    copy.device_configurations = (*others, ours)
    stage_of: dict[str, int] = {}
    for stage in plan.stages:
        for name in stage.nodes:
            stage_of.setdefault(name, stage.index)
    for node in copy.graph:
        kept = tuple(
            one
            for one in node.device_configurations
            if one.configuration is not None and one.configuration.name != CONFIGURATION
        )
        if str(node.name) in stage_of:
            kept += (ir.NodeDeviceConfiguration(ours, pipeline_stage=stage_of[str(node.name)]),)
        node.device_configurations = kept
        # Of a division by width, which this plan takes the place of.
        node.metadata_props.pop(TREES_KEY, None)
    copy.metadata_props[PLAN_KEY] = to_json(plan)
    return copy


def save_annotated(model: ir.Model, plan: Plan, path: str) -> None:
    """Write the model of `load_graph` with the plan in it to one file, its weights beside it where they are large.

    Raises:
        UsageError: the file cannot be written.
    """
    save_alone(annotate(model, plan), path)


def read_annotated_plan(model: ir.Model) -> Plan | None:
    """The plan that `annotate` put in; None where there is none.

    Raises:
        UsageError: it is there but is no plan of a version that this program reads.
    """
    text = model.metadata_props.get(PLAN_KEY)
    return None if text is None else from_json(text, f"the model's metadata {PLAN_KEY}")


def read_stages(graph: SplitGraph, configuration: str | None = None) -> tuple[int, ...] | None:
    """The stage of each of `graph.units` as the model's `pipeline_stage` fields say, by whatever tool.

    Stages are numbered anew from 0 without gaps. A unit without one goes where what it reads is made. For
    recomputed nodes the fields say nothing.

    Args:
        graph: the model.
        configuration: name of the configuration to read; by default the first that has stages.

    Returns:
        What `stage.assign` takes; None where the model has no stages.

    Raises:
        UsageError: nodes that stay together have several stages, or a stage reads from a later one.
    """
    found: dict[str, dict[str, int]] = {}
    for name, part in graph.parts.items():
        for one in part.node.device_configurations:
            if one.configuration is not None and one.pipeline_stage is not None:
                found.setdefault(one.configuration.name, {})[name] = one.pipeline_stage
    declared = [one.name for one in graph.model.device_configurations if one.name in found]
    chosen = configuration if configuration is not None else next(iter([*declared, *found]), None)
    if chosen is None or chosen not in found:
        return None
    stages = found[chosen]
    given: list[int | None] = []
    for unit in graph.units:
        here = {stages[name]: name for name in unit.nodes if name in stages}
        first = min(here, default=0)
        # A light node may be made anew in later stages only.
        if any(stages.get(name, first) != first and not is_light(graph.parts[name].node) for name in unit.nodes):
            said = ", ".join(f"{name} in stage {stage}" for stage, name in sorted(here.items()))
            raise UsageError(f"configuration {chosen!r} puts {said}, but these stay together: give them one stage")
        given.append(first if here else None)
    at: dict[str, int] = {}
    result = []
    for unit, stage in zip(graph.units, given, strict=True):
        earliest = max((at[name] for name in unit.reads if name in at), default=None)
        if stage is None:
            stage = earliest if earliest is not None else min(one for one in given if one is not None)
        elif earliest is not None and earliest > stage:
            name = next(name for name in unit.reads if at.get(name) == earliest)
            raise UsageError(
                f"configuration {chosen!r} puts {unit.nodes[0]} in stage {stage}, but it reads {name}, which stage "
                f"{earliest} makes: give it stage {earliest} or a later one"
            )
        at |= dict.fromkeys(unit.makes, stage)
        result.append(stage)
    numbers = {stage: number for number, stage in enumerate(sorted(set(result)))}
    return tuple(numbers[stage] for stage in result)
