"""The cases of the suites that the onnx package ships: a model, its inputs, and the outputs that are right."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

SUITES = ("simple", "pytorch-operator", "pytorch-converted", "node")

Value = Any
"""An array; a list of arrays or None where a case has a sequence or an optional."""


@dataclass(frozen=True)
class Case:
    """One case."""

    suite: str
    name: str
    model: onnx.ModelProto
    inputs: dict[str, Value]
    outputs: list[Value]
    rtol: float
    atol: float


def cases(suite: str) -> Iterator[Case]:
    """The cases of a suite, in its order; only the first data set of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind=suite)
    for one in found:
        if one.model_dir is None:
            model = one.model
            given, made = one.data_sets[0]
        else:
            model = onnx.load(os.path.join(one.model_dir, "model.onnx"))
            folder = os.path.join(one.model_dir, "test_data_set_0")
            given = _stored(folder, "input", model.graph.input)
            made = _stored(folder, "output", model.graph.output)
        weights = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in weights]
        inputs = dict(zip(names, map(plain, given), strict=False))
        yield Case(suite, one.name, model, inputs, [plain(value) for value in made], one.rtol, one.atol)


def _stored(folder: str, role: str, values: Any) -> list[Value]:
    files = sorted(glob.glob(os.path.join(folder, f"{role}_*.pb")), key=lambda path: int(path.split("_")[-1][:-3]))
    read: list[Value] = []
    for path, value in zip(files, values, strict=False):
        if value.type.WhichOneof("value") != "tensor_type":
            read.append(None)
            continue
        tensor = onnx.TensorProto()
        with open(path, "rb") as file:
            tensor.ParseFromString(file.read())
        read.append(tensor)
    return read


def plain(value: Value) -> Value:
    """A value as numpy has it."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, (list, type(None))):
        return value
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "SU" else array
