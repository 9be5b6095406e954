"""Changes to a graph that let ONNX Runtime score it in blocks; each one works in place on a parsed model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROWS = "rows"
"""The symbol that `dynamic_rows` gives the rows."""


class RewriteError(ValueError):
    """The model is not one that the rewrite can change; the message is one line with the fix."""


def drop_zipmap(model: onnx.ModelProto) -> None:
    """Replace each ZipMap whose result is an output by its input tensor, under the output's name.

    Raises:
        RewriteError: an output is a sequence of maps that no ZipMap made.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        if output.type.WhichOneof("value") != "sequence_type":
            continue
        node = makers.get(output.name)
        if node is None or node.op_type != "ZipMap":
            raise RewriteError(
                f"output {output.name} is a sequence, but a tensor is wanted: export the model without that output"
            )
        labels = next((len(a.strings) or len(a.ints) for a in node.attribute if a.name.startswith("classlabels")), 0)
        # ZipMap takes float32 only; one row of probabilities a row.
        tensor = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None, labels or None])
        output.type.CopyFrom(tensor)
        # An Identity, because the tensor may have other readers under its own name; ONNX Runtime drops it.
        node.CopyFrom(helper.make_node("Identity", node.input, node.output, name=node.name))


def dynamic_rows(model: onnx.ModelProto) -> None:
    """Make the first dimension dynamic: where inputs and outputs fix it at 1 they get the symbol `rows`.

    A Reshape (or a Resize to given sizes) whose constant target holds the 1 is mended, recorded shapes inside
    the graph are dropped. The result takes any number of rows but may not be right: verify it.

    Raises:
        RewriteError: no input has a first dimension of 1.
    """
    graph = model.graph
    shapes = _static_shapes(model)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights and _first_is_one(value)]
    if not inputs:
        raise RewriteError("no input has a first dimension of 1: nothing to make dynamic")
    for value in [*inputs, *(value for value in graph.output if _first_is_one(value))]:
        value.type.tensor_type.shape.dim[0].dim_param = ROWS
    del graph.value_info[:]
    constants = _small_integers(graph)
    carrying = _depending_on(graph, [value.name for value in inputs])
    nodes = []
    for i, node in enumerate(graph.node):
        data = node.input[0] if node.input else ""
        if node.op_type == "Reshape" and data in carrying and node.input[1] in constants:
            target = _mend_reshape(node, constants[node.input[1]], shapes.get(data), shapes.get(node.output[0]))
            name = f"{node.input[1]}/{ROWS}_{i}"
            graph.initializer.append(numpy_helper.from_array(np.array(target, np.int64), name))
            node.input[1] = name
        elif node.op_type == "Resize" and data in carrying and len(node.input) == 4 and node.input[3] in constants:
            nodes.extend(_mend_resize(graph, node, constants[node.input[3]], i))
        nodes.append(node)
    if len(nodes) != len(graph.node):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    # Before IR 4 every initializer had to be an input too, which the new ones are not.
    model.ir_version = max(model.ir_version, 4)


def _first_is_one(value: onnx.ValueInfoProto) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) > 0 and dims[0].HasField("dim_value") and dims[0].dim_value == 1


def _static_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of the values of the graph as it is, where all dimensions are known."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {}
    for value in [*inferred.input, *inferred.output, *inferred.value_info]:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = [dim.dim_value for dim in tensor.shape.dim]
    return shapes


def _small_integers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The int64 vectors that are known, by name: what may be the target of a Reshape."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    tensors[node.output[0]] = attribute.t
                elif attribute.name == "value_ints":
                    found[node.output[0]] = list(attribute.ints)
    for name, tensor in tensors.items():
        inside = tensor.data_location != onnx.TensorProto.EXTERNAL
        if inside and tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) == 1 and tensor.dims[0] <= 16:
            found[name] = numpy_helper.to_array(tensor).tolist()
    return found


def _depending_on(graph: onnx.GraphProto, names: Iterable[str]) -> set[str]:
    """The values that are made from those named, other than from their shapes alone."""
    found = set(names)
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _mend_reshape(
    node: onnx.NodeProto, target: list[int], before: list[int] | None, after: list[int] | None
) -> list[int]:
    """A target for any number of rows; the same as before where there is nothing to mend or to go by.

    Rows lead in memory, so where they are in the first dimension before they are so after: alone (0, copied
    from the input) or folded with what was in the first dimension (-1, worked out from the rest).
    """
    allow_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
    if not target or target[0] == -1 or (target[0] == 0 and not allow_zero):
        return target
    if target[0] == 1 and not allow_zero and (before is None or before[:1] == [1]):
        return [0, *target[1:]]
    if after is not None and len(after) == len(target) and min(after) > 0:
        return [-1, *after[1:]]
    if -1 not in target:
        return [-1, *target[1:]]
    return target


def _mend_resize(graph: onnx.GraphProto, node: onnx.NodeProto, sizes: list[int], number: int) -> list[onnx.NodeProto]:
    """Nodes that give a Resize the rows of its input as the first of its sizes."""
    if not sizes or sizes[0] != 1:
        return []
    prefix = f"{node.input[3]}/{ROWS}_{number}"
    for suffix, values in (("begin", [0]), ("end", [1]), ("rest", sizes[1:])):
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{prefix}_{suffix}"))
    nodes = [
        helper.make_node("Shape", [node.input[0]], [f"{prefix}_shape"]),
        helper.make_node("Slice", [f"{prefix}_shape", f"{prefix}_begin", f"{prefix}_end"], [f"{prefix}_first"]),
        helper.make_node("Concat", [f"{prefix}_first", f"{prefix}_rest"], [f"{prefix}_sizes"], axis=0),
    ]
    node.input[3] = f"{prefix}_sizes"
    return nodes
