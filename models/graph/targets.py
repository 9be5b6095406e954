"""Targets of Reshape and Expand as constants where their tensor tells the rest, so that no size has to travel.

x: [batch, sequence, 384], target: Concat(Shape(x)[0:2], [12, 32])   becomes   target: [0, 0, 12, 32]
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from beamsplit.models.graph.types import infer_again, skeleton

_COPIED = 0
"""In a target: the size of the same dimension before."""

_WORKED_OUT = -1
"""In a target, once: what the number of elements leaves."""


def fix_targets(model: ir.Model) -> int:
    """Give Reshape and Expand constant targets where these do the same for all sizes of the inputs; returns how many.

    Sizes are those that ONNX infers from the inputs alone: numbers that an exporter recorded may be those of its own
    example. That two dimensions carry the same symbol is believed of recorded shapes too.
    """
    nodes = [node for node in model.graph if _computed(node)]
    if not nodes:
        return 0
    proto = skeleton(model)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    inferred = infer_again(proto)
    if inferred is None:
        return 0
    known = {info.name: info for info in [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]}
    fixed = 0
    for node in nodes:
        data, made = node.inputs[0], node.outputs[0]
        assert data is not None
        before = [_dims(known.get(str(data.name))), _recorded(data)]
        rule = _target if node.op_type == "Reshape" else _width
        target = rule([dims for dims in before if dims], _dims(known.get(str(made.name))))
        if target is None:
            continue
        name = f"{made.name}/target"
        if name not in model.graph.initializers:
            tensor = ir.tensor(np.array(target, np.int64), name=name)
            value = ir.Value(
                name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape([len(target)])
            )
            model.graph.register_initializer(value)
            node.replace_input_with(1, value)
            # No size of the new target is a 0 that means none.
            node.attributes.pop("allowzero", None)
            fixed += 1
    return fixed


def _computed(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Reshape", "Expand") or len(node.inputs) != 2:
        return False
    data, target = node.inputs
    return data is not None and not data.is_initializer() and target is not None and not target.is_initializer()


def _dims(info: onnx.ValueInfoProto | None) -> list[int | str] | None:
    """Sizes or symbols; a symbol of its own, `""`, for a dimension of which nothing is known."""
    if info is None or not info.type.tensor_type.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in info.type.tensor_type.shape.dim]


def _recorded(value: ir.Value) -> list[int | str] | None:
    """Likewise, as the graph has it."""
    if value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value or "" for dim in value.shape]


def _target(before: list[list[int | str]], after: list[int | str] | None) -> list[int] | None:
    """A constant that reshapes the one, of which several things are known, to the other; None where there is none."""
    if after is None:
        return None
    target = []
    for axis, dim in enumerate(after):
        if isinstance(dim, int):
            if dim <= 0:
                return None
            target.append(dim)
        elif dim and any(axis < len(dims) and dims[axis] == dim for dims in before):
            target.append(_COPIED)
        else:
            target.append(_WORKED_OUT)
    return target if target.count(_WORKED_OUT) <= 1 else None


def _width(before: list[list[int | str]], after: list[int | str] | None) -> list[int] | None:
    """A constant that expands the one to the other: 1 keeps a dimension; None where there is none."""
    if after is None:
        return None
    target = []
    for back, dim in enumerate(reversed(after), start=1):
        if isinstance(dim, int):
            target.append(dim)
        elif dim and any(back <= len(dims) and dims[-back] == dim for dims in before):
            target.append(1)
        else:
            return None
    return target[::-1]
