"""From a model to its shards on disk: trees made plain, sample run, splits followed, steps saved.

model file -> graph -> shapes on the sample -> decisions -> steps -> ONNX files and a ShardPlan
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile, external_folder
from beamsplit.models.graph.saving import save_models
from beamsplit.models.shard.annotation import FIX, Annotation, WrongSpecError
from beamsplit.models.shard.apply_annotations import follow
from beamsplit.models.shard.observe import observed_shapes
from beamsplit.models.shard.placement import Partial, Sharded, Sizes
from beamsplit.models.shard.plan import Join, KeptWhole, ShardedLayer, ShardPlan, ShardStepPlan, to_json
from beamsplit.models.shard.propagate import Sharding, shard_graph
from beamsplit.models.shard.requested import asks_of, divided_trees, order_by_stage
from beamsplit.models.shard.step_models import StepModels, step_models
from beamsplit.models.shard.trees import plain_ensembles
from beamsplit.models.shard.weights import held_bytes, node_bytes, weight_bytes

LEAST_SHARE = 0.002
"""Share of the model's weights from which a layer is divided: smaller ones would cost a join and free no memory."""


NO_WEIGHTS = "the model has no weights"


class NothingToDivide(UsageError):
    """No layer of a model can be divided over so many shards."""

    def __init__(self, path: str, shards: int, why: str) -> None:
        fix = "leave --shards out" if why == NO_WEIGHTS else "give fewer --shards, or leave them out"
        super().__init__(f"--model {path} has no layer that can be divided over {shards} shards ({why}): {fix}")
        self.why = why
        """Of the largest layers."""


@dataclass(frozen=True)
class Division:
    """A model divided, not yet written."""

    plan: ShardPlan
    sharding: Sharding
    steps: tuple[StepModels, ...]

    def save(self, folder: str) -> None:
        """Write the models of the steps and plan.json; any ONNX Runtime opens them.

        Raises:
            UsageError: the folder cannot be written.
        """
        files = [
            (name, lambda made=made: made)
            for step, planned in zip(self.steps, self.plan.steps, strict=True)
            for name, made in zip(planned.files, step.models, strict=True)
        ]
        save_models(files, lambda: to_json(self.plan), folder)


def divide(
    model: ModelFile,
    feeds: Mapping[str, np.ndarray[Any, Any]],
    shards: int,
    folder: str,
    least_bytes: int | None = None,
    annotation: Annotation | None = None,
) -> ShardPlan:
    """`make_division`, saved in a folder, which is made if it is not there."""
    division = make_division(model, feeds, shards, least_bytes, annotation)
    division.save(folder)
    return division.plan


def make_division(
    model: ModelFile,
    feeds: Mapping[str, np.ndarray[Any, Any]],
    shards: int,
    least_bytes: int | None = None,
    annotation: Annotation | None = None,
) -> Division:
    """Divide a model over shards.

    Args:
        model: the whole model.
        feeds: a few sample rows, one array an input.
        shards: how many, at least 2.
        least_bytes: bytes of weights from which a layer is divided; by default `LEAST_SHARE` of the model's.
        annotation: what the model says, which is then done and nothing else.

    Raises:
        UsageError: no layer can be divided so (the message names the largest ones and why), the annotation cannot be
            followed, or the model cannot be run on the sample.
    """
    if shards < 2:
        raise UsageError(f"--shards {shards} divides nothing: give 2 or more, or leave it out")
    graph = load_graph(model)
    trees = divided_trees(graph.graph)
    left = plain_ensembles(graph.graph)
    total = held_bytes(graph.graph)
    least = max(1, int(total * LEAST_SHARE)) if least_bytes is None else least_bytes
    shapes = observed_shapes(graph, feeds, external_folder(model.path))
    for value in graph.graph.outputs:
        # What is declared is a hint; what came out is so.
        seen = shapes.get(str(value.name))
        if seen is not None and value.shape is not None and len(value.shape) != len(seen):
            value.shape = ir.Shape([None] * len(seen))
    if annotation is None:
        sharding = shard_graph(graph.graph, shards, shapes, graph.graph.opset_imports, least)
    else:
        sharding = _followed(model, graph.graph, annotation, shapes, trees)
    kept = _kept_whole(graph.graph, sharding.constants, {**sharding.kept_whole, **left})
    if annotation is not None:
        kept = tuple(replace(one, why="it is not annotated") for one in kept if one.weight_bytes >= total * LEAST_SHARE)
    if not sharding.decisions:
        raise NothingToDivide(model.path, shards, _why_not(kept, least, total))
    steps = step_models(graph, sharding)
    plan = ShardPlan(
        model=os.path.basename(model.path),
        model_hash=model_hash(model.path),
        shards=shards,
        steps=tuple(_step_plan(number, step, sharding.floors) for number, step in enumerate(steps)),
        outputs=tuple(str(value.name) for value in graph.graph.outputs),
        weight_bytes=total,
        sharded_bytes=sharding.sharded_bytes,
        joins=_joins(steps, sharding),
        layers=_layers(graph.graph, sharding, steps),
        kept_whole=kept,
        rewrites=model.rewrites,
        least_bytes=least,
        configuration="" if annotation is None else annotation.configuration,
        devices=() if annotation is None else annotation.devices,
    )
    return Division(plan, sharding, steps)


def _followed(
    model: ModelFile,
    graph: ir.Graph,
    annotation: Annotation,
    shapes: Mapping[str, Sequence[int]],
    trees: Sequence[str],
) -> Sharding:
    try:
        in_stage = order_by_stage(annotation, graph)
        asks = asks_of(annotation, graph, shapes, trees)
        return follow(graph, annotation, asks, shapes, graph.opset_imports, in_stage)
    except WrongSpecError as error:
        raise UsageError(f"--model {model.path}: {error}: {FIX}") from None


def _layers(graph: ir.Graph, sharding: Sharding, steps: Sequence[StepModels]) -> tuple[ShardedLayer, ...]:
    step = {step.level: number for number, step in enumerate(steps) if step.sharded}
    layers = []
    for node in graph:
        decision = sharding.decisions.get(str(node.name))
        if decision is None or not decision.sharded_bytes:
            continue
        makes = "slices" if any(isinstance(one, Sharded) for one in decision.outputs.values()) else "terms"
        held = {at: weight_bytes(node.inputs[at]) for at in decision.slices}
        at = max(held, key=lambda at: held[at], default=None)
        axis, pieces = (None, decision.trees) if at is None else (decision.slices[at].axis, decision.slices[at].pieces)
        weight = "" if at is None else str(node.inputs[at].name)  # type: ignore[union-attr]
        number, held_here = step[sharding.levels[str(node.name)]], decision.sharded_bytes
        layers.append(ShardedLayer(str(node.name), node.op_type, weight, axis, pieces, number, makes, held_here))
    return tuple(layers)


def _kept_whole(graph: ir.Graph, constants: frozenset[str], reasons: Mapping[str, str]) -> tuple[KeptWhole, ...]:
    held = {str(node.name): node_bytes(node, constants) for node in graph}
    kept = [KeptWhole(name, held.get(name, 0), why) for name, why in reasons.items()]
    return tuple(sorted(kept, key=lambda one: -one.weight_bytes))


def _why_not(kept: tuple[KeptWhole, ...], least: int, total: int) -> str:
    if not total:
        return NO_WEIGHTS
    return "; ".join([f"{one.node}: {one.why}" for one in kept[:3]] or [f"no layer has {least:,} bytes of weights"])


def _step_plan(number: int, step: StepModels, floors: Sequence[int]) -> ShardStepPlan:
    sizes = tuple(held_bytes(model.graph) for model in step.models)
    parts = [f"-shard-{shard}" for shard in range(len(step.models))] if step.sharded else [""]
    files = tuple(f"stage-{number}{part}.onnx" for part in parts)
    depth = bisect_right(floors, step.level)
    return ShardStepPlan(step.sharded, step.inputs, step.outputs, sizes, files, depth)


_HOW: tuple[tuple[type, str], ...] = ((Sharded, "concat"), (Partial, "sum"), (Sizes, "sizes"))


def _joins(steps: tuple[StepModels, ...], sharding: Sharding) -> tuple[Join, ...]:
    return tuple(
        Join(tensor, number, next(how for kind, how in _HOW if isinstance(sharding.placements[tensor], kind)))
        for number, step in enumerate(steps)
        if step.sharded
        for tensor in step.outputs
    )
