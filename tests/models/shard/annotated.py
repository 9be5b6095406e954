"""Models annotated by hand with onnx's own messages, as another tool would, and run as annotated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.models.shard.annotation import read_annotation
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.split.chain import check_same
from tests import onnx_models
from tests.models.shard.numbers import numbers

CPU = SessionOptions(threads=1)
FLOAT = TensorProto.FLOAT
Feeds = dict[str, np.ndarray]


def followed(proto: onnx.ModelProto, make: Callable[[int], Feeds], folder: Path, *rows: int) -> ShardPlan:
    """Divide as annotated, and compare with the whole model at each number of rows."""
    path = onnx_models.save(proto, folder / "model.onnx")
    return followed_file(path, make, folder / "shards", *rows)


def followed_file(path: str, make: Callable[[int], Feeds], folder: Path, *rows: int) -> ShardPlan:
    model = ModelFile(path)
    annotation = read_annotation(model)
    assert annotation is not None
    plan = divide(model, make(rows[0]), annotation.shards, str(folder), annotation=annotation)
    whole = get_session(model, CPU)
    session = ShardedSession(ShardedModel(plan, str(folder), (CPU,) * plan.shards, CPU, whole.signature))
    for count in rows:
        check_same(whole, session, make(count), 1e-5, of="the shards do", fix="")
    return plan


def said(plan: ShardPlan) -> list[tuple[str, int | None, str]]:
    return [(layer.weight, layer.axis, layer.makes) for layer in plan.layers]


def mlp() -> onnx.ModelProto:
    """x -> Gemm w0 [8, 12] -> h0 -> Relu r0 -> Gemm w1 [12, 12] -> h1 -> Relu r1 -> Gemm w2 [12, 6] -> y."""
    proto = onnx_models.mlp(8, 12, 6)
    configured(proto)
    return proto


def rows_of(features: int) -> Callable[[int], Feeds]:
    return lambda rows: {"x": numbers(rows, features)}


def configured(proto: onnx.ModelProto, devices: int = 2, name: str = "mesh", names: Sequence[str] = ()) -> None:
    """Declare a configuration."""
    proto.ir_version = 11
    made = proto.configuration.add()
    made.name, made.num_devices = name, devices
    made.device.extend(names)


def say(
    proto: onnx.ModelProto,
    output: str,
    axes: Mapping[str, int | None],
    *,
    shards: int = 2,
    devices: Sequence[int] | None = None,
    sizes: Mapping[str, int] | None = None,
    stage: int | None = None,
    configuration: str = "mesh",
) -> onnx.NodeDeviceConfigurationProto:
    """Annotate the node that makes `output`: tensors with the axis that is divided; None is whole on all devices."""
    node = next(one for one in proto.graph.node if output in one.output)
    made = node.device_configurations.add()
    made.configuration_id = configuration
    if stage is not None:
        made.pipeline_stage = stage
    where = list(range(shards)) if devices is None else list(devices)
    for tensor, axis in axes.items():
        spec = made.sharding_spec.add()
        spec.tensor_name = tensor
        if axis is None:
            spec.device.append(-1)
            group = spec.index_to_device_group_map.add()
            group.key = -1
            group.value.extend(where)
            continue
        spec.device.extend(where)
        dim = spec.sharded_dim.add()
        dim.axis = axis
        part = dim.simple_sharding.add()
        part.num_shards = shards
        if sizes and tensor in sizes:
            part.dim_value = sizes[tensor]
    return made
