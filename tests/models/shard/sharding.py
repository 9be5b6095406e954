"""Shards of a model, run in this process one after another and compared with the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes import common as passes

from beamsplit.models.graph.types import ask_types
from beamsplit.models.shard.observe import observed_shapes
from beamsplit.models.shard.propagate import Sharding, shard_graph
from beamsplit.models.shard.step_models import StepModels, part_name, step_models
from beamsplit.models.shard.trees import plain_ensembles

Feeds = Mapping[str, np.ndarray[Any, Any]]


def sharded(
    proto: onnx.ModelProto, feeds: Feeds, shards: int, least_bytes: int = 1
) -> tuple[Sharding, tuple[StepModels, ...]]:
    """Decide on a sample and make the stages."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    plain_ensembles(model.graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.NameFixPass()(model)
    ask_types(model, "the model", ".")
    shapes = observed_shapes(model, feeds)
    sharding = shard_graph(model.graph, shards, shapes, model.graph.opset_imports, least_bytes)
    return sharding, step_models(model, sharding)


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """A quiet session."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_stages(stages: tuple[StepModels, ...], feeds: Feeds, outputs: list[str]) -> list[Any]:
    """What the stages give."""
    values: dict[str, Any] = dict(feeds)
    for stage in stages:
        for shard, model in enumerate(stage.models):
            made = session(ir.to_proto(model)).run(list(stage.outputs), {name: values[name] for name in stage.inputs})
            for name, value in zip(stage.outputs, made, strict=True):
                values[part_name(name, shard) if stage.sharded else name] = value
    return [values[name] for name in outputs]


def check(proto: onnx.ModelProto, feeds: Feeds, shards: int, *others: Feeds, tolerance: float = 1e-5) -> Sharding:
    """The shards give what the whole model gives, on the sample and on other feeds."""
    sharding, stages = sharded(proto, feeds, shards)
    whole = session(proto)
    names = [output.name for output in whole.get_outputs()]
    for given in (feeds, *others):
        for one, other in zip(whole.run(names, dict(given)), run_stages(stages, given, names), strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            if one.dtype.kind == "f":
                limit = tolerance * max(1.0, float(np.abs(one).max(initial=0)))
                assert float(np.abs(one.astype(np.float64) - other).max(initial=0)) <= limit
            else:
                assert (one == other).all()
    return sharding


def largest_shard(stages: tuple[StepModels, ...]) -> int:
    """Bytes of weights that the worker of the largest shard holds in all sharded stages together."""
    each: dict[int, int] = {}
    for stage in stages:
        for shard, model in enumerate(stage.models if stage.sharded else ()):
            held = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
            each[shard] = each.get(shard, 0) + held
    return max(each.values(), default=0)
