"""What is known of a graph's values at two sizes of the batch: an axis that differs carries the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = tuple[int | None, ...]

_MOST = 64
"""Values of an integer tensor that are worth following: what may be a shape, or part of one."""

_SIZES = frozenset(
    [
        "Shape",
        "Gather",
        "Slice",
        "Concat",
        "Unsqueeze",
        "Squeeze",
        "Cast",
        "Identity",
        "Mul",
        "Add",
        "Sub",
        "Div",
        "Min",
        "Max",
        "Equal",
        "Where",
        "Reshape",
        "ReduceProd",
        "Neg",
        "Abs",
        "Mod",
        "Not",
        "And",
        "Or",
        "Greater",
        "Less",
        "Floor",
        "Ceil",
        "Size",
    ]
)
"""Operators that make sizes of sizes."""


@dataclass(frozen=True)
class Known:
    """One value at two sizes of the batch: as it is, and larger."""

    kind: int
    """TensorProto's number of the element type."""

    shapes: tuple[Shape | None, Shape | None]
    values: tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any] | None] = (None, None)
    """Its elements where they are few integers and known."""

    @property
    def axes(self) -> list[int]:
        """Where the sizes differ, so that the rows are there, alone or with what is folded into them."""
        small, large = self.shapes
        if small is None or large is None or len(small) != len(large):
            return []
        return [i for i, (a, b) in enumerate(zip(small, large, strict=True)) if a is not None and a != b]

    @property
    def rows(self) -> int | None:
        """The only axis that carries the rows; None where there is none, or more."""
        return self.axes[0] if len(self.axes) == 1 else None

    @property
    def fixed(self) -> np.ndarray[Any, Any] | None:
        """The elements where they do not depend on the batch."""
        small, large = self.values
        same = small is not None and large is not None and np.array_equal(small, large)
        return small if same else None

    def at(self, size: int) -> onnx.TypeProto:
        """Its type at the size of that number, 0 or 1."""
        return helper.make_tensor_type_proto(self.kind, self.shapes[size])


def of_tensor(tensor: onnx.TensorProto) -> Known:
    """A weight."""
    shape = tuple(tensor.dims)
    values = None
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    if inside and tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) and np.prod(shape) <= _MOST:
        values = numpy_helper.to_array(tensor)
    return Known(tensor.data_type, (shape, shape), (values, values))


def infer(node: onnx.NodeProto, known: Mapping[str, Known], opsets: list[onnx.OperatorSetIdProto]) -> dict[str, Known]:
    """What a node makes of values that are known; nothing of a node that ONNX cannot tell about."""
    if any(name and name not in known for name in node.input) or not node.output:
        return {}
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = next((one.version for one in opsets if one.domain in (domain, node.domain)), None)
    if version is None:
        return {}
    if node.op_type == "Reshape" and not domain and version < _RESHAPE_TELLS:
        return infer(*_with_target(node, known), [helper.make_opsetid("", _RESHAPE_TELLS)])
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return {}
    found: list[dict[str, onnx.TypeProto]] = []
    values = [_evaluate(node, known, size, opsets) for size in (0, 1)]
    for size in (0, 1):
        types = {name: known[name].at(size) for name in node.input if name}
        data = {}
        for name in node.input:
            value = known[name].values[size] if name else None
            if value is not None:
                data[name] = numpy_helper.from_array(value, name)
        try:
            found.append(onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets))
        except (onnx.shape_inference.InferenceError, RuntimeError):
            found.append({})
    made = {}
    for at, name in enumerate(node.output):
        if name in found[0] and found[0][name].HasField("tensor_type"):
            pair = (values[0], values[1]) if at == 0 else (None, None)
            shapes = [_shape(one[name], pair[size]) if name in one else None for size, one in enumerate(found)]
            made[name] = Known(found[0][name].tensor_type.elem_type, (shapes[0], shapes[1]), pair)
    return made


_RESHAPE_TELLS = 5
"""The opset from which on a Reshape has its target as an input, and ONNX tells what it makes."""


def _with_target(node: onnx.NodeProto, known: Mapping[str, Known]) -> tuple[onnx.NodeProto, Mapping[str, Known]]:
    """A Reshape whose target is an attribute as it is from opset 5 on."""
    target = np.array(next((one.ints for one in node.attribute if one.name == "shape"), ()), np.int64)
    name = f"{node.output[0]}/target"
    later = helper.make_node("Reshape", [node.input[0], name], node.output)
    return later, {**known, name: Known(onnx.TensorProto.INT64, ((len(target),),) * 2, (target, target))}


def _shape(kind: onnx.TypeProto, value: np.ndarray[Any, Any] | None) -> Shape | None:
    if value is not None:
        found: Shape = value.shape
        return found
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def _evaluate(
    node: onnx.NodeProto, known: Mapping[str, Known], size: int, opsets: list[onnx.OperatorSetIdProto]
) -> np.ndarray[Any, Any] | None:
    """The few integers that a node makes; None where they are not known, or are no sizes."""
    if node.op_type not in _SIZES or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("Shape", "Size"):
        shape = known[node.input[0]].shapes[size]
        if shape is None or None in shape:
            return None
        if node.op_type == "Size":
            return np.array(int(np.prod([dim or 0 for dim in shape])), np.int64)
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        return np.array(shape, np.int64)[slice(ends.get("start", 0), ends.get("end"))]
    feeds = {}
    for name in node.input:
        value = known[name].values[size] if name else None
        if name and value is None:
            return None
        feeds[name] = value
    from onnx.reference import ReferenceEvaluator

    version = next(one.version for one in opsets if one.domain in ("", "ai.onnx"))
    given = {name: value for name, value in feeds.items() if name and value is not None}
    types = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    graph = helper.make_graph([node], "one", types, [onnx.ValueInfoProto(name=node.output[0])])
    try:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        made = next(iter(ReferenceEvaluator(model).run([node.output[0]], given)))
    except Exception:  # The reference knows not every operator and version: then the value is not known.
        return None
    value = np.asarray(made)
    return value if value.dtype.kind in "iub" and value.size <= _MOST else None
