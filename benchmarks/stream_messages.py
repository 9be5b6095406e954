"""What the stream benchmark's messages hold, and their models: made once, seeded, kept in a folder.

Key:     number and time of sending (`KEY`), which every program hands on
Value:   a row of the model's input, float32, in C order; the output's value is the row of predictions
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

KEY = np.dtype([("number", "<i8"), ("sent_us", "<i8")])
"""A message's number in its topic, and when it was given to the producer, microseconds since 1970."""

PIXELS, HIDDEN, WIDE, CLASSES = 784, 32, 1024, 10
FEATURES = 32


def fnn(folder: Path) -> Path:
    """The small network of Crayfish: 784 -> 32 -> 32 -> 32 -> 10, 27,562 parameters."""
    return _network(folder / "fnn.onnx", [PIXELS, HIDDEN, HIDDEN, HIDDEN, CLASSES])


def wide(folder: Path) -> Path:
    """A network with something to divide: 784 -> 1024 -> 1024 -> 1024 -> 10, 2,913,290 parameters."""
    return _network(folder / "wide.onnx", [PIXELS, WIDE, WIDE, WIDE, CLASSES])


def table(folder: Path) -> Path:
    """A network for rows of a table: 32 -> 64 -> 32."""
    return _network(folder / "table.onnx", [FEATURES, 2 * FEATURES, FEATURES])


def _network(path: Path, sizes: list[int]) -> Path:
    """Gemm and Relu in turn, Softmax at the end; x: [N, first size] -> y: [N, last size]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if path.exists():
        return path
    rng = np.random.default_rng(3)
    nodes, weights, value = [], [], "x"
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        matrix = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        bias = (rng.standard_normal(outputs) / 10).astype(np.float32)
        weights += [numpy_helper.from_array(matrix, f"w{layer}"), numpy_helper.from_array(bias, f"b{layer}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [f"h{layer}"]))
        last = layer == len(sizes) - 2
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"h{layer}"], ["y" if last else f"r{layer}"]))
        value = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", sizes[-1]])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def payloads(folder: Path, model: Path, rows: int) -> Path:
    """A .npy file of [rows, ...] float32: inputs of the model, which the messages hold in turn."""
    import onnxruntime as ort

    path = folder / f"{model.stem}-payloads-{rows}.npy"
    if not path.exists():
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape[1:]
        part = path.with_suffix(".part.npy")
        np.save(part, np.random.default_rng(4).standard_normal((rows, *shape), dtype=np.float32))
        part.rename(path)
    return path


def expected(model: Path, inputs: Path) -> np.ndarray:
    """The predictions for each of the payloads, [rows, values]."""
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = np.load(inputs)
    made = [session.run(None, {name: rows[at : at + 32]})[0] for at in range(0, len(rows), 32)]
    return np.concatenate(made).reshape(len(rows), -1)
