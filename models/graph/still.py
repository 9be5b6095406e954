"""The still twin of a model that draws random numbers: what it draws is fixed. Works in place on a parsed model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from beamsplit.models.graph.operators import DRAWING


def draws(node: onnx.NodeProto, false: Collection[str] = ()) -> bool:
    """Whether a node gives something else in each run; `false` names the constants that are False."""
    if node.domain not in ("", "ai.onnx"):
        return False
    # A third input tells Dropout whether it trains.
    trains = len(node.input) > 2 and bool(node.input[2]) and node.input[2] not in false
    return node.op_type in DRAWING or (node.op_type == "Dropout" and trains)


def drawing(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators of a model that draw, each once, in their order."""
    false = _false(model)
    return tuple(dict.fromkeys(node.op_type for nodes in _lists(model) for node in nodes if draws(node, false)))


def make_still(model: onnx.ModelProto) -> None:
    """Give each node that draws a fixed result instead, in place, in bodies and functions too."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
    false, number = _false(model), 0
    for nodes in _lists(model):
        made: list[onnx.NodeProto] = []
        for node in nodes:
            if draws(node, false):
                number += 1
                made.extend(_fixed(node, f"{node.output[0]}/still{number}", opset))
            else:
                made.append(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in made]
        del nodes[:]
        nodes.extend(copies)


def _false(model: onnx.ModelProto) -> set[str]:
    """Names of the constants that are one False."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for nodes in _lists(model):
        for node in nodes:
            if node.op_type == "Constant":
                tensors.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    small = {name: one for name, one in tensors.items() if one.data_type == onnx.TensorProto.BOOL and len(one.dims) < 2}
    return {name for name, one in small.items() if not numpy_helper.to_array(one).any()}


def _lists(model: onnx.ModelProto) -> Iterator[Any]:
    """Every list of nodes: the graph's, those of bodies, innermost first, and of functions."""
    for owner in (model.graph, *model.functions):
        yield from _within(owner.node)


def _within(nodes: Iterable[onnx.NodeProto]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _within(body.node)
    yield nodes


def _fixed(node: onnx.NodeProto, name: str, opset: int) -> list[onnx.NodeProto]:
    """What stands for a node that draws: the middle of its distribution, or the likeliest outcome."""
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    out = node.output[0]
    if node.op_type == "Dropout":
        kept = helper.make_node("Dropout", [node.input[0]], node.output, name=node.name)
        return [kept]
    if node.op_type == "Bernoulli":
        half = numpy_helper.from_array(np.array(0.5, np.float32))
        likely = [
            helper.make_node("Constant", [], [f"{name}_half"], value=half),
            helper.make_node("Cast", [node.input[0]], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Greater", [f"{name}_float", f"{name}_half"], [f"{name}_likely"]),
        ]
        to = given.get("dtype")
        if to is not None:
            return [*likely, helper.make_node("Cast", [f"{name}_likely"], [out], to=to)]
        return [
            *likely,
            helper.make_node("Cast", [f"{name}_likely"], [f"{name}_number"], to=onnx.TensorProto.FLOAT),
            helper.make_node("CastLike", [f"{name}_number", node.input[0]], [out]),
        ]
    if node.op_type == "Multinomial":
        times = [1, given.get("sample_size", 1)]
        return [
            helper.make_node("ArgMax", [node.input[0]], [f"{name}_best"], axis=1, keepdims=1),
            helper.make_node("Cast", [f"{name}_best"], [f"{name}_cast"], to=given.get("dtype", onnx.TensorProto.INT32)),
            helper.make_node("Constant", [], [f"{name}_times"], value=numpy_helper.from_array(np.array(times))),
            helper.make_node("Tile", [f"{name}_cast", f"{name}_times"], [out]),
        ]
    low, high = given.get("low", 0.0), given.get("high", 1.0)
    middle = given.get("mean", 0.0) if "Normal" in node.op_type else (low + high) / 2
    to = given.get("dtype")
    if not node.input:
        values = np.full(given.get("shape", []), middle, helper.tensor_dtype_to_np_dtype(to or onnx.TensorProto.FLOAT))
        return [helper.make_node("Constant", [], [out], value=numpy_helper.from_array(values))]
    if to is None and opset < 15:
        # Before CastLike: nothing of the input, which has the input's type.
        return [helper.make_node("Sub", [node.input[0], node.input[0]], [out])]
    value = numpy_helper.from_array(np.array([middle], np.float32))
    made = [
        helper.make_node("Shape", [node.input[0]], [f"{name}_shape"]),
        helper.make_node("ConstantOfShape", [f"{name}_shape"], [f"{name}_middle"], value=value),
    ]
    if to is not None:
        return [*made, helper.make_node("Cast", [f"{name}_middle"], [out], to=to)]
    return [*made, helper.make_node("CastLike", [f"{name}_middle", node.input[0]], [out])]
