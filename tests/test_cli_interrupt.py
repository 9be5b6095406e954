"""Jobs that are interrupted, or lose a worker, in the midst: the command as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import onnx_models
from tests.command import without_progress
from tests.onnx_models import save
from tests.waiting import DEADLINE, running, wait_until

ROOT = Path(__file__).parent.parent
STEPS = """
import os, signal, time
from pathlib import Path

here = Path(__file__).parent

def late(batch):
    return batch.num_rows and batch.column(0)[0].as_py() >= 500

def wait(batch):
    if late(batch):
        (here / f"waits-{os.getpid()}").touch()
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            time.sleep(0.01)
    return batch

def die(batch):
    if late(batch):
        os.kill(os.getpid(), signal.SIGKILL)
    return batch

def fail(batch):
    if late(batch):
        raise ValueError("this step fails")
    return batch
"""


@contextmanager
def job(folder: Path, step: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`score` over 1,000 rows whose second half meets a step of `STEPS`; an earlier result lies in out/."""
    (folder / "steps.py").write_text(STEPS)
    (folder / "out").mkdir()
    (folder / "out" / "p-00000-of-00001.parquet").write_text("an earlier result")
    (folder / "tmp").mkdir()
    model = save(onnx_models.mlp(1, hidden=8, outputs=2), folder / "m.onnx")
    columns = {"id": pa.array(range(1000)), "x": pa.array(range(1000), pa.float32())}
    pq.write_table(pa.table(columns), folder / "in.parquet", row_group_size=100)
    command = [sys.executable, "-m", "pipelines.score", "--model", str(model), "--input", "in.parquet"]
    command += ["--columns", "x=x", "--output", "out/p.parquet", "--prepare", f"steps:{step}", *options]
    path = os.pathsep.join([str(ROOT), str(folder)])
    env = os.environ | {"PYTHONPATH": path, "TMPDIR": str(folder / "tmp")}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


THREADS = ("--workers", "2", "--worker_type", "thread")
PROCESSES = ("--workers", "2", "--worker_type", "process")
STAGES = ("--stages", "2", "--placement", "distributed")


@pytest.mark.parametrize("options", [THREADS, PROCESSES, STAGES], ids=["threads", "processes", "stages"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_job_leaves_nothing_and_no_worker(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals, code: int
):
    with job(tmp_path, "wait", *options) as process:
        wait_until(lambda: list(tmp_path.glob("waits-*")) or process.poll() is not None)
        # Ctrl-C reaches all that share the terminal, a scheduler's SIGTERM the command alone.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        err = without_progress(process.communicate(timeout=DEADLINE)[1])
    last = err.splitlines()[-1]
    assert (process.returncode, last) == (code, "interrupted: nothing was written")
    assert all(line.startswith("note: ") for line in err.splitlines()[:-1])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p-00000-of-00001.parquet"]
    assert (tmp_path / "out" / "p-00000-of-00001.parquet").read_text() == "an earlier result"
    assert list((tmp_path / "tmp").iterdir()) == []
    if sys.platform == "linux":
        for path in tmp_path.glob("waits-*"):
            wait_until(lambda path=path: not running(int(path.name.split("-")[1])))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end when their connection does")
def test_worker_processes_end_with_a_submitter_that_is_killed(tmp_path: Path):
    with job(tmp_path, "wait", *PROCESSES) as process:
        wait_until(lambda: list(tmp_path.glob("waits-*")) or process.poll() is not None)
        process.kill()
    workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("waits-*")]
    assert workers and process.pid not in workers
    wait_until(lambda: not any(map(running, workers)))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("die", "a worker process was killed, perhaps because memory was short: try fewer --workers"),
        ("fail", "this step fails"),
    ],
)
def test_a_worker_process_that_ends_or_fails_is_told_in_one_line(tmp_path: Path, step: str, reason: str):
    with job(tmp_path, step, *PROCESSES) as process:
        err = without_progress(process.communicate(timeout=DEADLINE)[1])
    assert process.returncode == 1
    assert err == f"error: the job failed, nothing was written: {reason} (--debug shows all)\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p-00000-of-00001.parquet"]
