"""Models cut by hand, for tests of what runs them: one model a kind of boundary tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.split.plan import BoundaryTensor, Plan, StagePlan, to_json
from beamsplit.models.split.saved_files import with_hashes
from beamsplit.models.split.staged import StagedModel
from tests.onnx_models import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CPU = SessionOptions(threads=1)


def cut_by_hand(model: onnx.ModelProto, stage_of: Sequence[int], folder: Path, micro_batch: int = 4) -> Plan:
    """Write model.onnx, a file a stage and plan.json; `stage_of` gives the stage of each node of the graph."""
    model = shape_inference.infer_shapes(model)
    graph = model.graph
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    weights = {tensor.name: tensor for tensor in graph.initializer}
    types = {value.name: value for value in [*graph.input, *graph.value_info, *graph.output]}
    whole = [value.name for value in graph.output]
    count = max(stage_of) + 1
    reads = [
        dict.fromkeys(i for n, s in zip(graph.node, stage_of, strict=True) if s == k for i in n.input if i)
        for k in range(count)
    ]
    makes = [
        dict.fromkeys(o for n, s in zip(graph.node, stage_of, strict=True) if s == k for o in n.output if o)
        for k in range(count)
    ]
    stages, crossing = [], {}
    for k in range(count):
        inputs = [name for name in reads[k] if name not in weights and name not in makes[k]]
        later = {name for read in reads[k + 1 :] for name in read}
        outputs = [name for name in makes[k] if name in later or name in whole]
        crossing |= {name: types[name] for name in outputs if name in later}
        before = {name for made in makes[:k] for name in made} | {value.name for value in graph.input}
        passes = [name for name in types if name in before and name in later and name not in inputs]
        nodes = [node for node, stage in zip(graph.node, stage_of, strict=True) if stage == k]
        used = [weights[name] for name in reads[k] if name in weights]
        part = helper.make_graph(
            nodes, f"stage-{k}", [types[name] for name in inputs], [types[name] for name in outputs], used
        )
        file = f"stage-{k}.onnx"
        onnx.save(helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version), folder / file)
        stages.append(
            StagePlan(
                k,
                tuple(node.name for node in nodes),
                tuple(inputs),
                tuple(outputs),
                tuple(passes),
                sum(tensor.ByteSize() for tensor in used),
                1.0,
                file=file,
            )
        )
        crossing |= {name: types[name] for name in passes}
        crossing |= {name: types[name] for name in inputs if k and name in types}
    boundaries = tuple(
        BoundaryTensor(name, TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(), None)
        for name, value in crossing.items()
    )
    digest = model_hash(str(folder / "model.onnx"))
    plan = Plan("model.onnx", digest, micro_batch, tuple(stages), boundaries, period=1.0, lower_bound=1.0)
    plan = with_hashes(plan, str(folder))
    (folder / "plan.json").write_text(to_json(plan))
    return plan


def staged(model: onnx.ModelProto, stage_of: Sequence[int], folder: Path, workers: int = 1) -> StagedModel:
    """The same as what runs."""
    plan = cut_by_hand(model, stage_of, folder)
    count = len(plan.stages)
    outputs = tuple(value.name for value in model.graph.output)
    return StagedModel(plan, str(folder), outputs, (CPU,) * count, (workers,) * count)


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"w": rng.standard_normal((4, 5)).astype(np.float32), "v": rng.standard_normal((5, 2)).astype(np.float32)}


def by_rows() -> tuple[onnx.ModelProto, list[int]]:
    """`h: [rows, 5]` crosses, and the input `x` skips the first stage."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["m"]),
        helper.make_node("ReduceSum", ["x", "one"], ["s"], keepdims=1),
        helper.make_node("Add", ["m", "s"], ["y"]),
    ]
    weights = {**_weights(), "one": np.array([1], np.int64)}
    return build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 2])], weights), [0, 1, 1, 2, 2]


def shape_vector() -> tuple[onnx.ModelProto, list[int]]:
    """`shape: int64[2]` with the number of rows crosses beside `h: [2 x rows, 2]`, whose rows are not outermost."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Relu", ["t"], ["h"]),
        helper.make_node("Transpose", ["h"], ["back"], perm=[1, 0]),
        helper.make_node("Reshape", ["back", "shape"], ["y"]),
    ]
    return build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])]), [0, 0, 0, 1, 1]


def scalar() -> tuple[onnx.ModelProto, list[int]]:
    """`top: float32[]`, the largest of all rows, crosses; what comes out does not depend on it."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Relu", ["x"], ["h"]),
        # Not top - top, which is NaN where a row holds infinity.
        helper.make_node("Where", ["never", "top", "nothing"], ["zero"]),
        helper.make_node("Add", ["h", "zero"], ["y"]),
    ]
    weights = {"never": np.array(False), "nothing": np.array(0, np.float32)}
    return build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], weights), [0, 0, 1, 1]


def shared_scalar() -> tuple[onnx.ModelProto, list[int]]:
    """`width: int64[1]`, which is the same for any rows, crosses."""
    nodes = [
        helper.make_node("Shape", ["x"], ["width"], start=1, end=2),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Cast", ["width"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["h", "f"], ["y"]),
    ]
    return build(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])]), [0, 0, 1, 1]


def folded() -> tuple[onnx.ModelProto, list[int]]:
    """`h: [rows x 3, 5]` crosses, rows outermost."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["g"]),
        helper.make_node("Reshape", ["g", "apart"], ["y"]),
    ]
    weights = {**_weights(), "flat": np.array([-1, 4], np.int64), "apart": np.array([-1, 3, 2], np.int64)}
    return build(nodes, [("x", FLOAT, ["batch", 3, 4])], [("y", FLOAT, ["batch", 3, 2])], weights), [0, 0, 1, 1]


def second_axis() -> tuple[onnx.ModelProto, list[int]]:
    """`h: [3, rows, 5]` crosses."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["g"]),
        helper.make_node("Transpose", ["g"], ["y"], perm=[1, 0, 2]),
    ]
    return build(nodes, [("x", FLOAT, ["batch", 3, 4])], [("y", FLOAT, ["batch", 3, 2])], _weights()), [0, 0, 1, 1]


def through(onnx_type: int) -> tuple[onnx.ModelProto, list[int]]:
    """`h` of that element type crosses: `x` cast to it and back."""
    nodes = [helper.make_node("Cast", ["x"], ["h"], to=onnx_type), helper.make_node("Cast", ["h"], ["y"], to=FLOAT)]
    model = build(nodes, [("x", FLOAT, ["batch", 3])], [("y", FLOAT, ["batch", 3])], opset=23)
    model.ir_version = 11
    return model, [0, 1]


def picky(limit: int = 10) -> tuple[onnx.ModelProto, list[int]]:
    """`i: int64[rows]` -> `y: float32[rows, 2]`: i >= limit fails in stage 1, limit / 2 <= i < limit in stage 2."""
    nodes = [
        helper.make_node("Add", ["i", "zero"], ["j"]),
        helper.make_node("Gather", ["wide", "j"], ["a"], axis=0),
        helper.make_node("Gather", ["narrow", "j"], ["b"], axis=0),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    table = np.arange(2 * limit, dtype=np.float32).reshape(limit, 2)
    weights = {"zero": np.array([0], np.int64), "wide": table, "narrow": table[: limit // 2]}
    return build(nodes, [("i", INT64, ["batch"])], [("y", FLOAT, ["batch", 2])], weights), [0, 1, 2, 2]


LAYOUTS = {
    "rows": by_rows,
    "shape vector": shape_vector,
    "scalar": scalar,
    "shared scalar": shared_scalar,
    "folded": folded,
    "second axis": second_axis,
}
"""Each kind of boundary tensor."""
