from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.fitting.model_check import ModelCheck, compare
from beamsplit.models.fitting.replacement import load_replacement
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.pipelines.options.model_check import read_tolerance
from tests.onnx_models import build, save

CPU = SessionOptions(threads=1)
ROWS = pa.record_batch({"x": pa.array(np.eye(5, dtype=np.float32)[:, :4].tolist(), pa.list_(pa.float32()))})
"""The label of row i is i, of the last one, whose values are all 0, it is 0."""


def classifier(tmp_path: Path, name: str, factors: list[float]) -> str:
    """x [rows, 4] -> s = x * factors, label = argmax(s)."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["s"]),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [("s", TensorProto.FLOAT, ["n", 4]), ("label", TensorProto.INT64, ["n"])]
    model = build(nodes, [("x", TensorProto.FLOAT, ["n", 4])], outputs, {"w": np.array(factors, np.float32)})
    return save(model, tmp_path / name)


def refusal(tmp_path: Path, factors: list[float], tolerance: str) -> str:
    made = fit(classifier(tmp_path, "a.onnx", [1.0, 1.0, 1.0, 2.0]), CPU, ROWS.schema, ROWS, DataFacts())
    old = Scorer(replace(made.plan, batch_size=2), made.session)
    check = ModelCheck("golden.csv", pack_rows(ROWS, 5) or b"", read_tolerance(tolerance))
    try:
        load_replacement(old, classifier(tmp_path, "b.onnx", factors), CPU, ROWS, check)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("factors", "tolerance", "told"),
    [
        ([1.0, 1.0, 1.0, 2.0], "0", ""),
        ([1.0, 1.0, 1.0, 2.5], "0.5", ""),
        ([1.0, 1.0, 1.0, 2.5], "25%", ""),
        ([1.0, 1.0, 1.0, 2.5], "0.4", "'s' differs by 0.5 from the one before, 0.4 allowed, in row 3 of --model_check"),
        ([1.0, 1.0, 1.0, 2.5], "20%", "'s' differs by 0.5 from the one before, 20% (0.4) allowed, in row 3"),
        ([1.0, -1.0, 1.0, 2.0], "2", "'label' differs in 1 of 5 rows, 0% allowed, first in row 1 of --model_check"),
        ([1.0, -1.0, 1.0, 2.0], "2,label=20%", ""),
        ([1.0, -1.0, 1.0, 2.0], "2,label=19%", "'label' differs in 1 of 5 rows, 19% allowed"),
        ([1.0, -1.0, 1.0, 2.0], "s=0.1,label=20%", "'s' differs by 2 from"),
        ([1.0, 1.0, 1.0, 2.5], "label=0%", "'s' differs by 0.5 from the one before, 0% (0) allowed"),
        ([1.0, 1.0, 1.0, float("inf")], "100", "is NaN"),
    ],
)
def test_how_far_a_new_model_may_be(tmp_path: Path, factors: list[float], tolerance: str, told: str):
    found = refusal(tmp_path, factors, tolerance)
    assert told in found and bool(told) == bool(found)


def test_it_is_compared_on_the_rows_that_both_score(tmp_path: Path):
    made = fit(classifier(tmp_path, "a.onnx", [1.0] * 4), CPU, ROWS.schema, ROWS, DataFacts())
    rows = pa.record_batch({"x": pa.array([None, [1.0, 0, 0, 0], [0, 3.0, 0, 0]], pa.list_(pa.float32()))})
    old = Scorer(made.plan, made.session)
    check = ModelCheck("g", pack_rows(rows, 5) or b"", read_tolerance("1"))
    new = load_replacement(old, classifier(tmp_path, "b.onnx", [1.0, 2.0, 1.0, 1.0]), CPU, ROWS)
    with pytest.raises(UsageError, match="'s' differs by 3 from the one before, 1 allowed, in row 2 of"):
        compare(old, new, check)
