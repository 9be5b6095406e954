"""Small ONNX models for tests: each function builds one; `save` writes it and gives the path back.

Weights are seeded, so a builder called twice gives the same model.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9

Shape = tuple[int | str | None, ...] | list[int | str | None] | None


def save(model: onnx.ModelProto, path: str | Path, *, external: str | None = None) -> str:
    """Write the model; `external` names a file beside it that takes the weights."""
    if external is None:
        onnx.save(model, str(path))
    else:
        onnx.save(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=external,
            size_threshold=0,
            convert_attribute=False,
        )
    return str(path)


def build(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, Shape]],
    outputs: list[tuple[str, int, Shape]],
    weights: dict[str, np.ndarray] | None = None,
    *,
    extra_opsets: dict[str, int] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of the nodes; inputs and outputs are (name, TensorProto type, shape or None for unknown rank)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, version) for domain, version in (extra_opsets or {}).items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def endless(features: int, above: float | None = None) -> onnx.ModelProto:
    """x: [rows, features] -> y = x, by a Loop that never ends: always, or where a value of the run is above `above`."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["value"], ["next"])],
        "body",
        [helper.make_tensor_value_info(*spec) for spec in (("at", 7, []), ("go", 9, []), ("value", 1, None))],
        [helper.make_tensor_value_info(*spec) for spec in (("go_on", 9, []), ("next", 1, None))],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["begin"]),
        helper.make_node("Loop", ["times", "begin", "x"], ["y"], body=body),
    ]
    limit = np.float32(-np.inf if above is None else above)
    weights = {"limit": limit, "times": np.array(2**62)}
    shape = ["rows", features]
    return build(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], weights)


def unheeding() -> onnx.ModelProto:
    """x: [rows, 1] -> y = x, with a MaxPool over a square as wide as the largest x of the run: of 6,000 it takes hours.

    ONNX Runtime stops a run between two nodes only.
    """
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["side"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["side", "zero"], ["sides"]),
        helper.make_node("Concat", ["ones", "sides", "sides"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["square"]),
        helper.make_node("MaxPool", ["square"], ["pooled"], kernel_shape=[1501, 1501], auto_pad="SAME_UPPER"),
        helper.make_node("ReduceMax", ["pooled"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    x, y = (("x", TensorProto.FLOAT, ["rows", 1]), ("y", TensorProto.FLOAT, ["rows", 1]))
    return build(nodes, [x], [y], {"zero": np.array([0]), "ones": np.array([1, 1])})


def mlp(
    features: int = 4,
    hidden: int = 8,
    outputs: int = 1,
    *,
    layers: int = 3,
    batch: int | str = "batch",
    dtype: str = "float32",
    seed: int = 0,
) -> onnx.ModelProto:
    """`x: [batch, features]` -> `y: [batch, outputs]` through Gemm and Relu; dtype float32, float64 or float16."""
    rng = np.random.default_rng(seed)
    onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    sizes = [features, *[hidden] * (layers - 1), outputs]
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    value = "x"
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{i}"] = (rng.standard_normal((a, b)) / np.sqrt(a)).astype(dtype)
        weights[f"b{i}"] = (rng.standard_normal(b) * 0.1).astype(dtype)
        last = i == len(sizes) - 2
        out = "y" if last else f"h{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"]))
            value = f"r{i}"
    return build(nodes, [("x", onnx_type, [batch, features])], [("y", onnx_type, [batch, outputs])], weights)


def float16_mlp(features: int = 4, outputs: int = 2) -> onnx.ModelProto:
    """`x: float16[batch, features]` -> `y: float16[batch, outputs]`."""
    return mlp(features, 8, outputs, dtype="float16")


def bfloat16_model() -> onnx.ModelProto:
    """`x: bfloat16[batch, 2]` -> `y: float32[batch, 2]`, the same values."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    return build(nodes, [("x", TensorProto.BFLOAT16, ["batch", 2])], [("y", TensorProto.FLOAT, ["batch", 2])])


def identity(onnx_type: int = TensorProto.FLOAT, shape: Shape = ("batch", 3)) -> onnx.ModelProto:
    """`x` -> `y`, the same tensor, of any element type and shape."""
    return build([helper.make_node("Identity", ["x"], ["y"])], [("x", onnx_type, shape)], [("y", onnx_type, shape)])


def two_outputs() -> onnx.ModelProto:
    """`x: float32[batch, 3]` -> `total: float32[batch]`, `doubled: float32[batch, 3]`."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "x"], ["doubled"]),
    ]
    outputs = [("total", TensorProto.FLOAT, ["batch"]), ("doubled", TensorProto.FLOAT, ["batch", 3])]
    weights = {"axes": np.array([1], np.int64)}
    return build(nodes, [("x", TensorProto.FLOAT, ["batch", 3])], outputs, weights)


def string_input() -> onnx.ModelProto:
    """`word: string[batch]` -> `code: int64[batch]`: red 1, green 2, blue 3, anything else -1."""
    node = helper.make_node(
        "LabelEncoder",
        ["word"],
        ["code"],
        domain="ai.onnx.ml",
        keys_strings=["red", "green", "blue"],
        values_int64s=[1, 2, 3],
        default_int64=-1,
    )
    inputs = [("word", TensorProto.STRING, ["batch"])]
    return build([node], inputs, [("code", TensorProto.INT64, ["batch"])], extra_opsets={"ai.onnx.ml": 2})


def string_output() -> onnx.ModelProto:
    """`code: int64[batch]` -> `word: string[batch]`: 1 red, 2 green, 3 blue, anything else "?"."""
    node = helper.make_node(
        "LabelEncoder",
        ["code"],
        ["word"],
        domain="ai.onnx.ml",
        keys_int64s=[1, 2, 3],
        values_strings=["red", "green", "blue"],
        default_string="?",
    )
    inputs = [("code", TensorProto.INT64, ["batch"])]
    return build([node], inputs, [("word", TensorProto.STRING, ["batch"])], extra_opsets={"ai.onnx.ml": 2})


def constant_input() -> onnx.ModelProto:
    """`x: float32[batch, 4]`, `sr: int64[]` (no column: one number for all rows) -> `y` = x * sr."""
    nodes = [
        helper.make_node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "rate"], ["y"]),
    ]
    inputs = [("x", TensorProto.FLOAT, ["batch", 4]), ("sr", TensorProto.INT64, [])]
    return build(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 4])])


def default_input() -> onnx.ModelProto:
    """`x: float32[batch, 2]` and `scale: float32[1]`, an input with a default of 3 -> `y` = x * scale."""
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, ["batch", 2]), ("scale", TensorProto.FLOAT, [1])]
    return build(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 2])], {"scale": np.array([3], np.float32)})


def rnn(features: int = 3, hidden: int = 5, *, rows: str = "batch") -> onnx.ModelProto:
    """`x: [time, rows, features]`, `state: [2, rows, hidden]` -> `y: [time, rows, 2 * hidden]`, `new_state`.

    A GRU in both directions: the rows are on axis 1 of everything.
    """
    rng = np.random.default_rng(1)
    weights = {
        "w": (rng.standard_normal((2, 3 * hidden, features)) * 0.5).astype(np.float32),
        "r": (rng.standard_normal((2, 3 * hidden, hidden)) * 0.5).astype(np.float32),
        "shape": np.array([0, 0, 2 * hidden], np.int64),
    }
    nodes = [
        helper.make_node(
            "GRU", ["x", "w", "r", "", "", "state"], ["g", "new_state"], hidden_size=hidden, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    inputs = [("x", TensorProto.FLOAT, ["time", rows, features]), ("state", TensorProto.FLOAT, [2, rows, hidden])]
    outputs = [
        ("y", TensorProto.FLOAT, ["time", rows, 2 * hidden]),
        ("new_state", TensorProto.FLOAT, [2, rows, hidden]),
    ]
    return build(nodes, inputs, outputs, weights)


def encoder(vocabulary: int = 50, width: int = 6) -> onnx.ModelProto:
    """`ids: int64[batch, sequence]`, `mask: int64[batch, sequence]` -> `tokens: [batch, sequence, width]`, `mean`.

    `mean: [batch, width]` is the mean over the tokens whose mask is 1: padding does not change it.
    """
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["tokens"], axis=0),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["m3"]),
        helper.make_node("Mul", ["tokens", "m3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["m3", "one"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
    ]
    inputs = [("ids", TensorProto.INT64, ["batch", "sequence"]), ("mask", TensorProto.INT64, ["batch", "sequence"])]
    outputs = [
        ("tokens", TensorProto.FLOAT, ["batch", "sequence", width]),
        ("mean", TensorProto.FLOAT, ["batch", width]),
    ]
    weights = {
        "table": rng.standard_normal((vocabulary, width)).astype(np.float32),
        "last": np.array([2], np.int64),
        "one": np.array([1], np.int64),
    }
    return build(nodes, inputs, outputs, weights)


def image_cnn(
    classes: int = 5, *, batch: int | str = "batch", height: int | str = "height", width: int | str = "width"
) -> onnx.ModelProto:
    """`image: float32[batch, 3, height, width]` -> `scores: [batch, classes]`; any size of image by default."""
    rng = np.random.default_rng(3)
    weights = {
        "kernel": (rng.standard_normal((8, 3, 3, 3)) * 0.3).astype(np.float32),
        "w": rng.standard_normal((8, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["scores"]),
    ]
    inputs = [("image", TensorProto.FLOAT, [batch, 3, height, width])]
    return build(nodes, inputs, [("scores", TensorProto.FLOAT, [batch, classes])], weights)


def fixed_batch(*, reshape: tuple[int, ...] = (1, -1), classes: int = 4) -> onnx.ModelProto:
    """`image: float32[1, 3, 4, 4]` -> `scores: [1, classes]`: Conv, Reshape to a constant (1, -1), Gemm."""
    rng = np.random.default_rng(4)
    weights = {
        "kernel": (rng.standard_normal((2, 3, 3, 3)) * 0.3).astype(np.float32),
        "shape": np.array(reshape, np.int64),
        "w": rng.standard_normal((32, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["scores"]),
    ]
    inputs = [("image", TensorProto.FLOAT, [1, 3, 4, 4])]
    model = build(nodes, inputs, [("scores", TensorProto.FLOAT, [1, classes])], weights)
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 32]))
    return model


def fixed_batch_only() -> onnx.ModelProto:
    """`x: float32[1, 3]` -> `y: float32[1, 3]` = x / (sum of everything): right for one row only."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Div", ["x", "total"], ["y"]),
    ]
    return build(nodes, [("x", TensorProto.FLOAT, [1, 3])], [("y", TensorProto.FLOAT, [1, 3])])


def mixes_rows() -> onnx.ModelProto:
    """`x: float32[batch, 3]` -> `y` = x - mean over the rows: what a row gets depends on the rows beside it."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    return build(nodes, [("x", TensorProto.FLOAT, ["batch", 3])], [("y", TensorProto.FLOAT, ["batch", 3])])


def pairwise() -> onnx.ModelProto:
    """`x: float32[batch, 3]` -> `y: float32[batch, batch]` = x xT: two axes follow the rows."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    return build(nodes, [("x", TensorProto.FLOAT, ["batch", 3])], [("y", TensorProto.FLOAT, ["batch", "batch"])])


def scalar_output() -> onnx.ModelProto:
    """`x: float32[batch, 3]` -> `y: float32[batch, 3]` = x, `total: float32[]` over all rows (no rows axis)."""
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    outputs = [("y", TensorProto.FLOAT, ["batch", 3]), ("total", TensorProto.FLOAT, [])]
    return build(nodes, [("x", TensorProto.FLOAT, ["batch", 3])], outputs)


def picky(limit: int = 10) -> onnx.ModelProto:
    """`i: int64[batch]` -> `y: float32[batch, 2]`, a table look-up: a row with i >= limit makes the run fail."""
    table = np.arange(2 * limit, dtype=np.float32).reshape(limit, 2)
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"], axis=0)]
    inputs = [("i", TensorProto.INT64, ["batch"])]
    return build(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 2])], {"table": table})


def dynamic_quantised(features: int = 4, outputs: int = 3) -> onnx.ModelProto:
    """`x: float32[batch, features]` -> `y: float32[batch, outputs]`, quantised at run time over all rows at once."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["s"]),
        helper.make_node("Mul", ["s", "w_scale"], ["y"]),
    ]
    weights = {
        "w": rng.integers(-100, 100, (features, outputs)).astype(np.int8),
        "w_scale": np.array(0.01, np.float32),
    }
    inputs = [("x", TensorProto.FLOAT, ["batch", features])]
    return build(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", outputs])], weights)


def sequence_output() -> onnx.ModelProto:
    """`x: float32[batch, 3]` -> `parts: seq(float32)`, which is not from a ZipMap and so cannot be scored."""
    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0)],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def unknown_operator() -> onnx.ModelProto:
    """A model with an operator that ONNX Runtime does not have."""
    node = helper.make_node("FlyToTheMoon", ["x"], ["y"], domain="com.example")
    inputs = [("x", TensorProto.FLOAT, ["batch", 3])]
    return build([node], inputs, [("y", TensorProto.FLOAT, ["batch", 3])], extra_opsets={"com.example": 1})


def zipmap(*, labels: str = "int", zipmap: bool = True) -> onnx.ModelProto:
    """`X: float32[?, 4]` -> `output_label`, `output_probability`: scikit-learn's logistic regression, 3 classes.

    With `zipmap` (skl2onnx's default) the probabilities are a sequence of maps; else a tensor `probabilities`.
    `labels` is "int" or "string".
    """
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(6)
    x = rng.standard_normal((60, 4)).astype(np.float32)
    number = rng.integers(0, 3, 60)
    target = number if labels == "int" else np.array(["low", "mid", "high"])[number]
    return _from_sklearn(LogisticRegression().fit(x, target), 4, {} if zipmap else {"zipmap": False})


def trees(features: int = 8, *, estimators: int = 10) -> onnx.ModelProto:
    """`X: float32[?, features]` -> `variable: float32[?, 1]`: gradient-boosted trees of scikit-learn."""
    from sklearn.ensemble import GradientBoostingRegressor

    rng = np.random.default_rng(7)
    x = rng.standard_normal((200, features)).astype(np.float32)
    y = x[:, 0] * 2 + np.sin(x[:, 1])
    trained = GradientBoostingRegressor(n_estimators=estimators, max_depth=3, random_state=0).fit(x, y)
    return _from_sklearn(trained, features, None)


def _from_sklearn(trained: Any, features: int, options: dict[str, Any] | None) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    per_model = None if options is None else {id(trained): options}
    return convert_sklearn(
        trained, initial_types=[("X", FloatTensorType([None, features]))], options=per_model, target_opset=OPSET
    )
