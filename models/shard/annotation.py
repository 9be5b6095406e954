"""What a model's ShardingSpecs say (ONNX IR 11): which axis of which tensor lies over which devices, by whatever tool.

    configuration "mesh": devices 0, 1
    node fc0:  w [64, 256]  axis 1 over devices 0, 1       columns: fc0 makes slices
    node fc1:  w [256, 32]  axis 0 over devices 0, 1       rows: fc1 makes terms, which are summed

Source: onnx.proto, and the ONNX multi-device proposal (docs/proposals/ONNXMultiDeviceProposal.md of onnx/onnx).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile, parse_model
from beamsplit.models.graph.skeleton import has_field

if TYPE_CHECKING:
    import onnx

CONFIGURATION = "beamsplit"
"""Name of the configuration that ours are written under; where it has specs it is read rather than another."""

PLAN_KEY = "beamsplit.plan"
"""Of the model's metadata: a whole plan of stages as JSON."""

TREES_KEY = "beamsplit.divided"
"""Metadata of a node that is divided though no axis of a tensor says so; its value is `"trees"`."""

_CONFIGURATION_FIELD = 26
"""Of ModelProto: device configurations."""

MOST_DEVICES = 65_536
"""Of a configuration; more is a mistake."""

FIX = "annotate the model again, or type --shards 1 to run it whole"


@dataclass(frozen=True)
class AxisSpec:
    """One tensor of a node, divided along one axis; the others are whole on each device."""

    axis: int
    """As the model has it: may count from the end."""

    merged: bool = False
    """Whether another axis, which is not divided, was merged into this one from before it."""

    sizes: tuple[int | None, ...] = ()
    """Sizes of what was merged into the axis (one where nothing was), where they are told."""


@dataclass(frozen=True)
class NodeAnnotation:
    """What one node says."""

    label: str
    """Its name, or its operator and output, for messages."""

    tensors: Mapping[str, AxisSpec | None]
    """Inputs and outputs that it names; None is whole on each device."""

    stage: int | None = None
    """Its `pipeline_stage`."""


@dataclass(frozen=True)
class Annotation:
    """What the model says under one configuration."""

    configuration: str
    shards: int

    devices: tuple[str, ...]
    """Of the shards, in their order: names, or numbers where there are none; of all stages where each has its own."""

    nodes: Mapping[str, NodeAnnotation] = field(default_factory=dict)
    """By name of a node's first output."""


def read_annotation(model: ModelFile) -> Annotation | None:
    """What the model's ShardingSpecs say; None where it has none that divide anything. Cheap for other models.

    Raises:
        UsageError: they cannot be right; the line names the node.
    """
    if not os.path.isfile(model.path) or not has_field(model.path, _CONFIGURATION_FIELD):
        return None
    proto = parse_model(model)
    try:
        return annotation_of(proto)
    except WrongSpecError as error:
        raise UsageError(f"--model {model.path}: {error}: {FIX}") from None


class WrongSpecError(ValueError):
    """An annotation that cannot be right or cannot be followed; the message names the node."""


def annotation_of(proto: onnx.ModelProto) -> Annotation | None:
    """What a model says; None where nothing is divided.

    Raises:
        WrongSpecError: it cannot be right.
    """
    declared = {one.name: one for one in proto.configuration}
    found: dict[str, list[tuple[onnx.NodeProto, onnx.NodeDeviceConfigurationProto]]] = {}
    for node in proto.graph.node:
        for one in node.device_configurations:
            if one.configuration_id not in declared:
                said = ", ".join(map(repr, declared)) or "none"
                raise WrongSpecError(
                    f"node {_label(node)} names the configuration {one.configuration_id!r}, and the model has {said}"
                )
            found.setdefault(one.configuration_id, []).append((node, one))
    dividing = [name for name in declared if any(_divides(node, one) for node, one in found.get(name, ()))]
    _check_inside(proto, set(declared))
    if not dividing:
        return None
    chosen = CONFIGURATION if CONFIGURATION in dividing else dividing[0]
    return _read(declared[chosen], found[chosen])


def _divides(node: onnx.NodeProto, one: onnx.NodeDeviceConfigurationProto) -> bool:
    if any(prop.key == TREES_KEY for prop in node.metadata_props):
        return True
    return any(
        part.num_shards > 1 for spec in one.sharding_spec for d in spec.sharded_dim for part in d.simple_sharding
    )


def _read(
    declared: onnx.DeviceConfigurationProto,
    found: Sequence[tuple[onnx.NodeProto, onnx.NodeDeviceConfigurationProto]],
) -> Annotation:
    count = declared.num_devices
    if not 1 <= count <= MOST_DEVICES:
        raise WrongSpecError(f"configuration {declared.name!r} has {count} devices, and 1 to {MOST_DEVICES:,} can be")
    names = list(declared.device) or [str(k) for k in range(count)]
    if len(names) != count:
        raise WrongSpecError(
            f"configuration {declared.name!r} has {count} devices and the names of {len(names)} ({', '.join(names)})"
        )
    nodes: dict[str, NodeAnnotation] = {}
    homes: dict[int | None, tuple[tuple[int, ...], str]] = {}
    for node, one in found:
        stage = one.pipeline_stage if one.HasField("pipeline_stage") else None
        tensors: dict[str, AxisSpec | None] = {}
        for spec in one.sharding_spec:
            axis, devices = _read_spec(node, spec, count)
            if spec.tensor_name in tensors:
                raise WrongSpecError(f"node {_label(node)} has two specs for {spec.tensor_name}")
            tensors[spec.tensor_name] = axis
            if axis is None:
                continue
            home, first = homes.setdefault(stage, (devices, _label(node)))
            if home != devices:
                raise WrongSpecError(
                    f"node {_label(node)} has {spec.tensor_name} over the devices {list(devices)}, and node {first} "
                    f"works on {list(home)}: shards of like count on the same devices are wanted"
                )
        key = next((name for name in node.output if name), None)
        if key is not None:
            nodes[key] = NodeAnnotation(_label(node), tensors, stage)
    if not homes:  # Trees only: they are over all devices.
        homes[None] = (tuple(range(count)), "")
    counts = {len(home): (stage, first) for stage, (home, first) in homes.items()}
    if len(counts) > 1:
        said = " and ".join(f"{n} at node {first}" for n, (_, first) in sorted(counts.items()))
        raise WrongSpecError(f"configuration {declared.name!r} divides into unlike numbers of shards: {said}")
    shards = counts.popitem()[0]
    in_order = [homes[stage][0] for stage in sorted(homes, key=lambda stage: -1 if stage is None else stage)]
    called = tuple("/".join(dict.fromkeys(names[home[shard]] for home in in_order)) for shard in range(shards))
    return Annotation(declared.name, shards, called, nodes)


def _read_spec(
    node: onnx.NodeProto, spec: onnx.ShardingSpecProto, count: int
) -> tuple[AxisSpec | None, tuple[int, ...]]:
    """(how the tensor is divided, device of each shard)."""
    label, tensor = _label(node), spec.tensor_name
    if tensor not in (*node.input, *node.output) or not tensor:
        raise WrongSpecError(f"node {label} has a spec for {tensor!r}, which is none of its inputs and outputs")
    groups = {entry.key: tuple(entry.value) for entry in spec.index_to_device_group_map}
    members = [groups.get(device, (device,)) for device in spec.device]
    for device in (one for group in members for one in group):
        if not 0 <= device < count:
            raise WrongSpecError(f"node {label} has {tensor} on device {device}, and there are {count} (from 0)")
    # A shard that several devices hold is run on the first of them.
    devices = tuple(group[0] for group in members if group)
    axes: dict[int, AxisSpec] = {}
    for dim in spec.sharded_dim:
        axis = _read_dim(label, tensor, dim)
        if dim.axis in axes:
            raise WrongSpecError(f"node {label} divides axis {dim.axis} of {tensor} twice")
        if axis is not None:
            axes[dim.axis] = axis
    if not axes:
        return None, devices
    if len(axes) > 1:
        raise WrongSpecError(f"node {label} divides {tensor} along {len(axes)} axes, and one is what runs here")
    shards = max(part.num_shards for dim in spec.sharded_dim for part in dim.simple_sharding)
    if len(devices) != shards:
        raise WrongSpecError(f"node {label} divides {tensor} into {shards} shards and names {len(devices)} devices")
    if len(set(devices)) != shards:
        raise WrongSpecError(f"node {label} puts two shards of {tensor} on one device (devices {list(devices)})")
    return next(iter(axes.values())), devices


def _read_dim(label: str, tensor: str, dim: onnx.ShardedDimProto) -> AxisSpec | None:
    """How an axis is divided; None where it is not."""
    parts = list(dim.simple_sharding)
    for part in parts:
        if part.num_shards < 1:
            raise WrongSpecError(f"node {label} divides axis {dim.axis} of {tensor} into {part.num_shards} shards")
        if part.HasField("dim_value") and part.num_shards > part.dim_value:
            raise WrongSpecError(
                f"node {label} divides axis {dim.axis} of {tensor}, {part.dim_value} long, into "
                f"{part.num_shards} shards"
            )
    divided = [at for at, part in enumerate(parts) if part.num_shards > 1]
    if not divided:
        return None
    if len(divided) > 1:
        raise WrongSpecError(f"node {label} divides axis {dim.axis} of {tensor} twice over, and once is what runs here")
    sizes = tuple(part.dim_value if part.HasField("dim_value") else None for part in parts)
    merged = any(size != 1 for size in sizes[: divided[0]])
    return AxisSpec(dim.axis, merged, sizes)


def _check_inside(proto: onnx.ModelProto, declared: set[str]) -> None:
    """Raise for specs in functions and in bodies of If and Loop, which are not followed."""
    inside = [(f"function {one.name}", node) for one in proto.functions for node in _all_nodes(one.node)]
    for outer in proto.graph.node:
        inside += [(f"the body of node {_label(outer)}", node) for node in _body_nodes(outer)]
    for where, node in inside:
        if any(one.configuration_id in declared and _divides(node, one) for one in node.device_configurations):
            raise WrongSpecError(f"node {_label(node)} is divided, but inside {where}, where nothing is divided here")


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        yield from _body_nodes(node)


def _body_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for attribute in node.attribute:
        for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _all_nodes(body.node)


def _label(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type} -> {next(iter(node.output), '')}"
