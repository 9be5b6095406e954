"""How much faster several threads call a function than one."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions
from beamsplit.models.running.thread_scaling import thread_scaling
from beamsplit.pipelines.execution.workers import choose_worker_type
from beamsplit.transforms.step import StepResult
from tests import onnx_models
from tests.waiting import DEADLINE


class SharedClock:
    """Time that calls add to: all at once if they hold a lock, or side by side."""

    def __init__(self, seconds: float, exclusive: bool) -> None:
        self.seconds = seconds
        self.exclusive = exclusive
        self.lock = threading.Lock()
        self.spent: dict[int, float] = {}

    def run(self) -> None:
        with self.lock:
            thread = threading.get_ident()
            self.spent[thread] = self.spent.get(thread, 0.0) + self.seconds

    def now(self) -> float:
        with self.lock:
            return sum(self.spent.values()) if self.exclusive else max(self.spent.values(), default=0.0)


def test_one_worker_does_not_scale() -> None:
    assert thread_scaling(lambda: None, 1) == 1.0


def test_calls_that_exclude_each_other_do_not_scale() -> None:
    clock = SharedClock(0.01, exclusive=True)
    assert thread_scaling(clock.run, 4, clock=clock.now) == pytest.approx(1.0)


def test_calls_that_run_side_by_side_scale() -> None:
    seen: list[int] = []
    barrier = threading.Barrier(3, action=lambda: seen.append(1))
    now = [0.0]
    calls = itertools.count()

    def run() -> None:
        # Two calls to look, one alone, and then three of three threads, of which all must be in it for time to go on.
        if next(calls) < 3:
            now[0] += 1.0
        else:
            barrier.wait(timeout=DEADLINE)
            with lock:
                now[0] += 1 / 3

    lock = threading.Lock()
    assert thread_scaling(run, 3, budget_seconds=0.1, clock=lambda: now[0]) == pytest.approx(3.0)
    assert seen


def test_the_budget_holds() -> None:
    clock = SharedClock(0.001, exclusive=True)
    thread_scaling(clock.run, 4, budget_seconds=0.1, clock=clock.now)
    assert clock.now() <= 0.11


def test_a_failing_run_is_not_swallowed() -> None:
    calls = iter([None, None])

    def run() -> None:
        if next(calls, "over") == "over":
            raise ModelRunError("no")

    with pytest.raises(ModelRunError, match="no"):
        thread_scaling(run, 2)


def test_scaling_of_a_real_model(tmp_path: Path) -> None:
    model = Session(
        ModelFile(onnx_models.save(onnx_models.mlp(32, 64), tmp_path / "m.onnx")), SessionOptions(threads=1)
    )
    x = np.ones((2048, 32), np.float32)
    assert thread_scaling(lambda: model.run({"x": x}), 2) > 0


def test_a_large_cell_is_not_repeated_beyond_what_a_column_holds(monkeypatch):
    monkeypatch.setattr("beamsplit.pipelines.execution.workers.TIMED_BYTES", 1 << 20)
    raw = pa.record_batch({"id": [1], "text": ["x" * 100_000]})
    seen: list[int] = []

    class Look:
        def output_schema(self, schema: pa.Schema) -> pa.Schema:
            return schema

        def __call__(self, block: pa.RecordBatch) -> StepResult:
            seen.append(block.num_rows)
            return StepResult(block)

    assert choose_worker_type([Look()], raw, 131_072, 2, 1_000)[0] == "thread"
    assert max(seen) == 10
