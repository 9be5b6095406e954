"""Runs of a model that do not return in time."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running import run_limit
from beamsplit.models.running.run_limit import context, ending_with, limited, longest, told
from beamsplit.models.running.runs import StageRunError, timed_out
from beamsplit.models.running.session import CPU, ModelRunError, RunTimeoutError, Session, SessionOptions
from beamsplit.models.scoring.scorer import count_of, parts_of
from beamsplit.pipelines.running.drain_limit import DrainLimit
from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.infer.running_rows import RunningRows, running
from tests import onnx_models
from tests.onnx_models import save
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
SOON = SessionOptions((CPU,), 1, run_timeout=0.2)


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32).reshape(-1, 1)}


def test_a_run_that_does_not_return_is_stopped_and_the_next_is_not(tmp_path: Path):
    session = Session(ModelFile(save(onnx_models.endless(1, above=100), tmp_path / "m.onnx")), SOON)
    with pytest.raises(RunTimeoutError, match=r"^it did not return within 0.2 s \(--run_timeout\)$"):
        session.run(rows(1, 200))
    assert session.run(rows(1, 2))[0].ravel().tolist() == [1, 2]


def test_runs_of_many_threads_have_limits_of_their_own(tmp_path: Path):
    session = Session(ModelFile(save(onnx_models.endless(1, above=100), tmp_path / "m.onnx")), SOON)
    ended: list[object] = []

    def run(value: float) -> None:
        try:
            ended.append(session.run(rows(value))[0].item())
        except RunTimeoutError:
            ended.append("stopped")

    threads = [threading.Thread(target=run, args=(value,)) for value in (1, 200, 2, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, ended)) == ["1.0", "2.0", "stopped", "stopped"]


def test_a_run_that_fails_by_itself_is_no_timeout(tmp_path: Path):
    session = Session(ModelFile(save(onnx_models.endless(1), tmp_path / "m.onnx")), SOON)
    with pytest.raises(ModelRunError) as caught:
        session.run({"x": np.zeros((2, 7), np.float32)})
    assert not isinstance(caught.value, RunTimeoutError)


def test_what_does_not_heed_being_stopped_ends_the_process_and_names_its_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_limit, "LEAST_GRACE", 0.01)
    said: list[str] = []
    block = pa.record_batch({ORIGIN_FILE: ["a.parquet"] * 3, ORIGIN_ROW: pa.array([5, 6, 7])})
    running(block, None, SOON)
    context.run = np.array([1])
    with ending_with(said.append), limited(0.01):
        wait_until(lambda: said)
    context.block = None
    (line,) = said
    assert line.endswith("0.01 s (--run_timeout) and does not heed being stopped, with row 6 of a.parquet")


def test_a_worker_leaves_word_before_it_ends(tmp_path: Path):
    code = """
import sys, threading
from beamsplit.models.running import run_limit
run_limit.LEAST_GRACE = 0.01
class Rows:
    job_dir = sys.argv[1]
    def describe(self, run):
        return "row 7 of ü.parquet"
run_limit.context.block = Rows()
with run_limit.limited(0.01):
    threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (run_limit.STUCK, b"", b"")
    assert str(told(str(tmp_path))).endswith("with row 7 of ü.parquet")
    (tmp_path / "empty").mkdir()
    assert told(str(tmp_path / "empty")) is None


def test_rows_are_named_by_where_they_came_from():
    block = pa.record_batch({ORIGIN_FILE: ["a"] * 2 + ["b"] * 2, ORIGIN_ROW: pa.array([8, 9, 0, 1])})
    names = RunningRows(block, None).describe
    assert names(slice(1, 2)) == names(np.array([1])) == "row 9 of a"
    assert names(slice(0, 3)) == "3 rows from row 8 of a to row 0 of b"
    assert names(None) == "4 rows from row 8 of a to row 1 of b"
    assert RunningRows(pa.record_batch({"x": [1]}), None).describe(None) == "sample rows"


def test_rows_that_did_not_return_are_run_alone_and_others_by_halves():
    late = RunTimeoutError("late")
    assert parts_of(slice(3, 6), late) == [slice(3, 4), slice(4, 5), slice(5, 6)]
    assert [one.tolist() for one in parts_of(np.array([4, 9]), late)] == [[4], [9]]
    assert [count_of(part) for part in parts_of(slice(0, 6), StageRunError(1, late))] == [1] * 6
    assert parts_of(slice(0, 6), ModelRunError("other")) == (slice(0, 3), slice(3, 6))
    assert not timed_out(StageRunError(1, ModelRunError("other"))) and not timed_out(None)


def test_a_stream_that_drains_does_not_wait_for_a_run_that_does_not_return(tmp_path: Path):
    stop, said, before = tmp_path / "stop", [], longest()
    assert before is None
    with limited(math.inf), DrainLimit(str(stop), said.append, seconds=0.01):
        wait_until(lambda: longest()[0] > 0.5)
        assert not said, "it was not asked to end"
        stop.touch()
        wait_until(lambda: said)
    assert said == ["the model does not return with sample rows; --run_timeout ends such runs"]
    assert longest() is None


def test_a_stream_that_drains_waits_for_what_is_quick(tmp_path: Path):
    (tmp_path / "stop").touch()
    said: list[str] = []
    with limited(math.inf), DrainLimit(str(tmp_path / "stop"), said.append), DrainLimit(None, said.append):
        pass
    assert not said
