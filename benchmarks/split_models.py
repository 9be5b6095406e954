"""The models of the split benchmark: made once, seeded, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import data

CHUNK = 8 << 20
"""Bytes of weights made and written at a time."""

WIDTH, LAYERS = 4_096, 38
"""Of the large model: 38 matrices of 64 MiB are 2.55 GB."""

QUICK_WIDTH = 1_024
"""The same for a quick look: 159 MB."""


@dataclass(frozen=True)
class SplitCase:
    """One model and how it is run."""

    name: str
    model: Path
    rows: int
    """In a micro-batch."""


def light(folder: Path, name: str) -> Path:
    """One of the onnx package's CNNs, its weights written out, any number of rows."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        from beamsplit.models.graph.light import light_model_path, materialise_weights

        part = path.with_suffix(".part")
        materialise_weights(light_model_path(f"light_{name}"), str(part))
        part.rename(path)
    return path


def large(folder: Path, width: int = WIDTH, layers: int = LAYERS) -> Path:
    """A chain of matrices whose weights lie in a file of their own, written in chunks: never held whole, here or later.

    x: float32 [rows, width] -> y: float32 [rows, width].
    """
    from onnx import StringStringEntryProto, TensorProto, helper

    path = folder / f"large-{width}x{layers}.onnx"
    if path.exists():
        return path
    weights = path.with_suffix(".weights")
    matrix = width * width * 4
    _write_normal(weights, layers * matrix, np.float32(np.sqrt(2 / width)))
    nodes, tensors, value = [], [], "x"
    for layer in range(layers):
        made = "y" if layer == layers - 1 else f"r{layer}"
        nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], [f"h{layer}"], name=f"matmul{layer}"))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [made], name=f"relu{layer}"))
        value = made
        tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": weights.name, "offset": str(layer * matrix), "length": str(matrix)}
        tensor.external_data.extend(StringStringEntryProto(key=key, value=text) for key, text in entries.items())
        tensors.append(tensor)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def _write_normal(path: Path, nbytes: int, scale: np.float32) -> None:
    rng = np.random.default_rng(7)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        for start in range(0, nbytes, CHUNK):
            count = min(CHUNK, nbytes - start) // 4
            file.write((rng.standard_normal(count, dtype=np.float32) * scale).tobytes())
    part.rename(path)


def make_cases(names: list[str], folder: Path, quick: bool) -> list[SplitCase]:
    """The cases of these names, their models made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    making: dict[str, Callable[[], Path]] = {
        "resnet50": lambda: light(folder, "resnet50"),
        "vgg19": lambda: light(folder, "vgg19"),
        "densenet121": lambda: light(folder, "densenet121"),
        "encoder": data.encoder,
        "large": lambda: large(folder, QUICK_WIDTH if quick else WIDTH),
    }
    rows = {"encoder": 16, "large": 32}
    return [SplitCase(name, making[name](), 2 if quick else rows.get(name, 8)) for name in names]


NAMES = ("resnet50", "vgg19", "densenet121", "encoder", "large")
QUICK_NAMES = ("resnet50", "encoder", "large")
