"""A model that takes long for a row is brought together with its data in fewer runs, with the same outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.session import Session, SessionOptions
from tests import onnx_models
from tests.models.independence import judged
from tests.onnx_models import save

CPU = SessionOptions(threads=1)
NOTHING = PlanningBudget(seconds=0.0)


def floats(name: str, *shape: int) -> pa.RecordBatch:
    values = np.random.default_rng(5).standard_normal((6, *shape)).astype(np.float32)
    return pa.record_batch({name: pa.FixedSizeListArray.from_arrays(values.ravel(), int(np.prod(shape)))})


def fitted(model: onnx.ModelProto, rows: pa.RecordBatch, path: Path, budget: PlanningBudget, **facts: Any) -> Fit:
    return fit(save(model, path / "m.onnx"), CPU, rows.schema, rows, DataFacts(**facts), budget)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each run."""
    made: list[int] = []
    real = Session.run

    def run(self: Session, feeds: dict[str, Any]) -> list[Any]:
        made.append(len(next(iter(feeds.values()))))
        return real(self, feeds)

    monkeypatch.setattr(Session, "run", run)
    return made


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (onnx_models.mlp(), floats("x", 4)),
        (onnx_models.identity(), floats("x", 3)),
        (onnx_models.picky(10), pa.record_batch({"i": pa.array([1, 2, 3, 4])})),
        (onnx_models.picky(10), pa.record_batch({"i": pa.array([42, 2, 43, 4, 5])})),
        (onnx_models.picky(10), pa.record_batch({"i": pa.array([7])})),
    ],
    ids=["mlp", "identity", "integers", "rows-that-fail", "one-row"],
)
def test_the_plan_is_the_same_in_fewer_runs(
    model: onnx.ModelProto, rows: pa.RecordBatch, tmp_path: Path, runs: list[int]
):
    full = fitted(model, rows, tmp_path, UNLIMITED)
    all_runs, runs[:] = list(runs), []
    few = fitted(model, rows, tmp_path, NOTHING)
    assert few.plan == full.plan
    assert few.notes == full.notes
    assert full.run_seconds == ()
    assert sum(runs) < sum(all_runs)
    assert [number for number, _ in few.run_seconds] == [1, 2]
    assert sum(runs) <= 2 + 2 + 2 * (rows[0][0].as_py() == 42)


def test_known_rows_are_run_alone_once(tmp_path: Path, runs: list[int]):
    fitted(onnx_models.mlp(), floats("x", 4), tmp_path, UNLIMITED)
    assert runs == [1, 1, 1, 3, 2]


def test_rows_that_are_not_proven_apart_run_one_by_one(tmp_path: Path, runs: list[int]):
    # Of the determinant no rule is known; where there is time it is probed.
    path = judged.save("g (float[N,2,2] x) => (float[N] y) { y = Det(x) }", tmp_path)
    rows = judged.block(np.random.default_rng(0).standard_normal((9, 2, 2), dtype=np.float32))
    assert not fit(path, CPU, rows.schema, rows, DataFacts()).plan.row_by_row
    runs.clear()
    few = fit(path, CPU, rows.schema, rows, DataFacts(), NOTHING)
    assert few.plan.row_by_row
    assert runs == [1, 1]
    assert "--plan_seconds" in few.notes[-1]
    assert few.independence.endswith("they run one by one")


def test_rows_that_meet_are_never_run_together(tmp_path: Path):
    for budget in (UNLIMITED, NOTHING):
        assert fitted(onnx_models.mixes_rows(), floats("x", 3), tmp_path, budget).plan.row_by_row
