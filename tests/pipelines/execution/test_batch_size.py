"""Rows of a run of the whole model, where only a row alone and two together were run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.running.session import SessionOptions
from beamsplit.pipelines.execution.batch_size import with_batch_size
from tests import onnx_models


@pytest.fixture
def fitted(tmp_path: Path) -> Fit:
    rows = pa.record_batch({"x": pa.FixedSizeListArray.from_arrays(np.arange(64, dtype=np.float32), 4)})
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    return fit(path, SessionOptions(threads=1), rows.schema, rows, DataFacts())


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (((1, 0.25), (2, 0.5)), "1 (a row takes 250 ms, and no less beside another)"),
        (((1, 0.25), (2, 0.4)), "1 (a row takes 250 ms, and no less beside another)"),
        (((1, 2.0),), "1 (a row takes 2.00 s, and no less beside another)"),
        (((1, 0.25), (2, 0.39)), "measured"),
        ((), "measured"),
    ],
)
def test_more_rows_are_measured_where_two_gain(fitted: Fit, runs: tuple[tuple[int, float], ...], told: str):
    plan, line = with_batch_size(replace(fitted, run_seconds=runs), "auto")
    assert told in line
    assert (plan.batch_size == 1) == ("measured" not in told)


def test_what_is_asked_for_is_taken(fitted: Fit):
    plan, line = with_batch_size(replace(fitted, run_seconds=((1, 0.25), (2, 0.5))), 8)
    assert (plan.batch_size, line) == (8, "8")
