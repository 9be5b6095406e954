"""Give a model that knows no rows an axis for them, of size 1: each run is one row."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper


def put_axis_before(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Put an axis of 1 before each of the inputs; before all outputs too where no input has rows of its own.

    Args:
        model: changed in place.
        names: of the inputs.
    """
    graph = model.graph
    version = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), None)
    if version is None:
        version = 17
        model.opset_import.append(helper.make_opsetid("", version))
    weights = {tensor.name for tensor in graph.initializer}
    open_inputs = [value for value in graph.input if value.name not in weights]
    axes = numpy_helper.from_array(np.array([0], np.int64), "beamsplit/axis")
    begin, end = [], []
    for value in open_inputs:
        if value.name not in names:
            continue
        inner = f"{value.name}/whole"
        _rename(graph, value.name, inner)
        begin.append(_node("Squeeze", value.name, inner, version, axes.name))
        _widen(value)
    if len(begin) == len(open_inputs):
        for value in graph.output:
            inner = f"{value.name}/whole"
            _rename(graph, value.name, inner)
            end.append(_node("Unsqueeze", inner, value.name, version, axes.name))
            _widen(value)
    if version >= 13:
        graph.initializer.append(axes)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in [*begin, *graph.node, *end]]
    del graph.node[:]
    graph.node.extend(nodes)
    model.ir_version = max(model.ir_version, 4)


def _node(op_type: str, given: str, made: str, version: int, axes: str) -> onnx.NodeProto:
    if version < 13:
        return helper.make_node(op_type, [given], [made], name=f"{made}/{op_type}", axes=[0])
    return helper.make_node(op_type, [given, axes], [made], name=f"{made}/{op_type}")


def _widen(value: onnx.ValueInfoProto) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return
    dims = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in tensor.shape.dim]
    del tensor.shape.dim[:]
    tensor.shape.dim.add().dim_value = 1
    tensor.shape.dim.extend(dims)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Call a value of the graph otherwise wherever nodes make or read it, in bodies too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                _rename(body, old, new)
                for value in body.output:
                    value.name = new if value.name == old else value.name
    for tensor in graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
