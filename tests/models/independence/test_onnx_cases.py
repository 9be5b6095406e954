"""What the proof says of ONNX's own test models, held against ONNX Runtime: a row changes with no row beside it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.independence.probe import KINDS, replace_rows
from beamsplit.models.independence.proof import Proof, prove
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions

Array = np.ndarray[Any, Any]

EVERY = 32
"""One case of as many is taken: all 1,884 take minutes."""

LEAST_PROVEN = 15
"""Models of those that are proven, so that the test looks at something."""


def cases() -> Iterator[tuple[str, onnx.ModelProto, list[Array]]]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    for case in found[::EVERY]:
        inputs = list(case.data_sets[0][0]) if case.data_sets and case.model is not None else []
        if inputs and all(isinstance(one, np.ndarray) for one in inputs):
            yield case.name, case.model, inputs


def opened(model: onnx.ModelProto, inputs: list[Array], axis: int) -> tuple[onnx.ModelProto, dict[str, int | None]]:
    """The model with any number of rows on that axis of each input that is as long there as the first."""
    made = copy.deepcopy(model)
    count = next(one.shape[axis] for one in inputs if one.ndim > axis)
    axes: dict[str, int | None] = {}
    for value, one in zip(made.graph.input, inputs, strict=True):
        axes[value.name] = axis if one.ndim > axis and one.shape[axis] == count else None
        if axes[value.name] is not None:
            value.type.tensor_type.shape.dim[axis].Clear()
            value.type.tensor_type.shape.dim[axis].dim_param = "N"
    for value in made.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return made, axes


def moved(session: Session, proof: Proof, feeds: dict[str, Array], axes: dict[str, int | None]) -> str | None:
    """An output in which a row changes with a row beside it."""
    rows = next(feeds[name].shape[axis] for name, axis in axes.items() if axis is not None)
    names = [spec.name for spec in session.signature.outputs]
    before = dict(zip(names, session.run(dict(feeds)), strict=True))
    for kind in KINDS:
        for replaced in (np.arange(0, rows, 2), np.arange(1, rows, 2)):
            changed = replace_rows(feeds, axes, replaced, kind)
            if changed is None:
                continue
            try:
                after = dict(zip(names, session.run(changed), strict=True))
            except ModelRunError:
                continue
            kept = np.delete(np.arange(rows), replaced)
            for name in names:
                a, b = before[name], after[name]
                if name in proof.outputs:
                    a, b = np.take(a, kept, proof.outputs[name]), np.take(b, kept, proof.outputs[name])
                if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                    return f"{name} ({kind})"
    return None


def test_no_row_moves_in_a_model_that_is_proven(tmp_path: Path) -> None:
    proven, wrong = 0, []
    for name, model, inputs in cases():
        for axis in (0, 1):
            fits = len(model.graph.input) == len(inputs) and any(one.ndim > axis for one in inputs)
            if not fits or next(one.shape[axis] for one in inputs if one.ndim > axis) < 2:
                continue
            made, axes = opened(model, inputs, axis)
            onnx.save(made, tmp_path / "m.onnx")
            try:
                session = Session(ModelFile(str(tmp_path / "m.onnx")), SessionOptions(threads=1))
                proof = prove(session.model, session.signature, axes)
                if not proof.holds or proof.random:
                    continue
                feeds = {value.name: one for value, one in zip(made.graph.input, inputs, strict=True)}
                found = moved(session, proof, feeds, axes)
            except (UsageError, ModelRunError):
                continue  # ONNX Runtime does not have it
            proven += 1
            if found is not None:
                wrong.append((name, axis, found))
    assert wrong == []
    assert proven >= LEAST_PROVEN


@pytest.fixture(autouse=True)
def _quiet() -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
