"""Where the rows are behind a Reshape, a Slice and operators that broadcast."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from beamsplit.models.batch.sizes import Known, Shape, of_tensor

_ENDLESS = np.iinfo(np.int64).max


def of_constant(node: onnx.NodeProto) -> dict[str, Known]:
    """What a Constant node gives."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return {node.output[0]: of_tensor(attribute.t)}
        if attribute.name == "value_ints":
            return {node.output[0]: of_tensor(numpy_helper.from_array(np.array(attribute.ints, np.int64)))}
        if attribute.name == "value_int":
            return {node.output[0]: of_tensor(numpy_helper.from_array(np.array(attribute.i, np.int64)))}
        if attribute.name == "value_float":
            return {node.output[0]: of_tensor(numpy_helper.from_array(np.array(attribute.f, np.float32)))}
        if attribute.name == "value_floats":
            return {node.output[0]: of_tensor(numpy_helper.from_array(np.array(attribute.floats, np.float32)))}
    return {}


def where_rows(before: Shape, rows: int, after: list[int], batch: int) -> int | None:
    """The axis of `after` that has the rows, as the values lie in memory; None if none has them whole."""
    if None in before:
        return None
    ahead = int(np.prod([size or 0 for size in before[:rows]]))
    fitting = [at for at in range(len(after)) if int(np.prod(after[:at])) == ahead and after[at] % batch == 0]
    for wanted in (batch, before[rows]):
        if any(after[at] == wanted for at in fitting):
            return next(at for at in fitting if after[at] == wanted)
    return fitting[0] if fitting else None


def open_ends(
    starts: list[int], ends: list[int], axes: list[int], steps: list[int], shape: Shape, rows: int
) -> list[int]:
    """The ends of a Slice, open where all rows are taken."""
    opened = list(ends)
    for i, axis in enumerate(axes):
        if axis % len(shape) == rows and starts[i] == 0 and ends[i] == shape[rows] and (not steps or steps[i] == 1):
            opened[i] = _ENDLESS
    return opened


def rows_from_end(one: Known, op_type: str) -> int | None:
    """How far from the end the axis of the rows is, which is where it meets others; None where there is none."""
    shape = one.shapes[0]
    if one.rows is None or shape is None:
        return None
    back = len(shape) - one.rows
    if op_type == "MatMul" and back <= 2:
        return None if back == 1 else 2
    return back
