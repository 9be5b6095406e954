"""Jobs that are interrupted, or lose a worker, in the midst: the command as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.running import interrupt
from beamsplit.pipelines.running.interrupt import Interrupted, Interruptible, interruptible
from tests import onnx_models
from tests.command import without_progress, write_table
from tests.onnx_models import save
from tests.pipelines.interrupted import ROOT, start
from tests.waiting import DEADLINE, running, wait_until

STEPS = """
import os, signal, time
from pathlib import Path

here = Path(__file__).parent

def late(batch):
    return batch.num_rows and batch.column(0)[0].as_py() >= 500

def go(batch):
    return batch

def mark(batch):
    (here / "marked").touch()
    return batch

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
    save(onnx_models.mlp(1, hidden=8, outputs=2), folder / "m.onnx")
    columns = {"id": pa.array(range(1000)), "x": pa.array(range(1000), pa.float32())}
    pq.write_table(pa.table(columns), folder / "in.parquet", row_group_size=100)
    process = score(folder, step, *options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def score(folder: Path, step: str, *options: str) -> subprocess.Popen[str]:
    """The command once more in the folder of a `job`."""
    return start(folder, "pipelines.score", "--model", "m.onnx", "--input", "in.parquet", "--columns", "x=x",
                 "--output", "out/p.parquet", "--prepare", f"steps:{step}", *options)  # fmt: skip


THREADS = ("--workers", "2", "--worker_type", "thread")
PROCESSES = ("--workers", "2", "--worker_type", "process")
STAGES = ("--stages", "2", "--placement", "distributed")


@pytest.mark.parametrize(
    ("options", "number", "code", "times"),
    [
        *((options, signal.SIGINT, 130, times) for options, times in ((THREADS, 2), (PROCESSES, 1), (STAGES, 2))),
        *((options, signal.SIGTERM, 143, 3) for options in (THREADS, PROCESSES, STAGES)),
        (PROCESSES, signal.SIGHUP, 129, 2),
    ],
)
def test_an_interrupted_job_leaves_nothing_and_no_worker(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals, code: int, times: int
):
    with job(tmp_path, "wait", *options) as process:
        wait_until(lambda: list(tmp_path.glob("waits-*")) or process.poll() is not None)
        # Ctrl-C reaches all that share the terminal, a scheduler's SIGTERM the command alone.
        for _ in range(times):
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        err = without_progress(process.communicate(timeout=DEADLINE)[1])
    last = err.splitlines()[-1]
    assert (process.returncode, last) == (code, "interrupted: nothing was written")
    assert [line for line in err.splitlines()[:-1] if not line.startswith("note: ")] == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p-00000-of-00001.parquet"]
    assert (tmp_path / "out" / "p-00000-of-00001.parquet").read_text() == "an earlier result"
    assert list((tmp_path / "tmp").iterdir()) == []
    if sys.platform == "linux":
        for path in tmp_path.glob("waits-*"):
            wait_until(lambda path=path: not running(int(path.name.split("-")[1])))


SCORE = ("pipelines.score", "--input", "in.parquet", "--output", "out/p.parquet")
PLAN = ("pipelines.plan", "--sample", "in.parquet", "--stages", "2", "--save_stages", "out")


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [(SCORE, signal.SIGINT, 130), (SCORE, signal.SIGHUP, 129), (PLAN, signal.SIGTERM, 143)],
    ids=["score", "score-hangup", "plan"],
)
def test_planning_with_a_model_that_never_returns_is_interrupted(
    tmp_path: Path, command: tuple[str, ...], number: signal.Signals, code: int
):
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "tmp").mkdir()
    save(onnx_models.endless(1), tmp_path / "m.onnx")
    write_table(tmp_path / "in.parquet", x=pa.array(range(4), pa.float32()))
    process = start(tmp_path, *command, "--model", "m.onnx", "--prepare", "steps:mark")
    try:
        wait_until(lambda: (tmp_path / "marked").exists() or process.poll() is not None)
        there = psutil.Process(process.pid)
        # By then it runs the model, which computes and does nothing else.
        begun = there.cpu_times().user
        wait_until(lambda: there.cpu_times().user > begun + 2)
        began = time.monotonic()
        process.send_signal(number)
        err = process.communicate(timeout=DEADLINE)[1]
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (code, "interrupted: nothing was written\n")
    assert list((tmp_path / "tmp").iterdir()) == [] and not (tmp_path / "out").exists()
    assert time.monotonic() - began < DEADLINE / 2


@pytest.mark.parametrize(
    ("options", "number"), [(THREADS, signal.SIGKILL), (PROCESSES, signal.SIGQUIT)], ids=["threads", "processes"]
)
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, options: tuple[str, ...], number: signal.Signals):
    with job(tmp_path, "wait", *options) as process:
        wait_until(lambda: list(tmp_path.glob("waits-*")) or process.poll() is not None)
        process.send_signal(number)
        process.wait(DEADLINE)
    assert list((tmp_path / "out").glob(".p.parquet-*")) and list((tmp_path / "tmp").iterdir())
    (tmp_path / "out" / ".q.parquet-0123456789ab").mkdir()
    after = score(tmp_path, "go", "--num_shards", "1", "--workers", "1", "--quiet")
    assert (after.communicate(timeout=DEADLINE)[1], after.returncode) == ("", 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".q.parquet-0123456789ab",
        "p-00000-of-00001.parquet",
        "p.parquet",
    ]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_hangup_is_not_heard_where_that_was_asked_for(tmp_path: Path):
    code = "from beamsplit.pipelines.running.interrupt import signals; print([one.name for one in signals()])"
    done = subprocess.run(["nohup", sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "['SIGINT', 'SIGTERM']\n"


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
        ("die", "a worker process was killed (SIGKILL), perhaps because memory was short: try fewer --workers"),
        ("fail", "this step fails"),
    ],
)
def test_a_worker_process_that_ends_or_fails_is_told_in_one_line(tmp_path: Path, step: str, reason: str):
    with job(tmp_path, step, *PROCESSES) as process:
        err = without_progress(process.communicate(timeout=DEADLINE)[1])
    assert process.returncode == 1
    assert err == f"error: the job failed, nothing was written: {reason} (--debug shows all)\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p-00000-of-00001.parquet"]


def test_a_second_signal_leaves_the_clean_up_of_the_first_alone():
    given_up = []
    handler = Interruptible()
    handler.give_up = lambda: given_up.append(1) or True
    with pytest.raises(Interrupted) as told:
        handler(signal.SIGTERM, None)
    handler(signal.SIGTERM, None)
    handler(signal.SIGINT, None)
    assert (told.value.code, handler.number, given_up) == (143, signal.SIGTERM, [1])


@pytest.mark.parametrize("own", [False, True])
def test_once_it_is_interrupted_a_command_hears_no_other_signal(monkeypatch: pytest.MonkeyPatch, own: bool):
    monkeypatch.setattr(interrupt, "_own_process", own)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Interrupted), interruptible() as handler:
            signal.raise_signal(signal.SIGTERM)
        heard = {number: signal.getsignal(number) for number in before}
        assert heard == (dict.fromkeys(before, handler) if own else before)
        if own:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        with interruptible():
            pass
        assert {number: signal.getsignal(number) for number in before} == heard, "a job that ended changes nothing"
    finally:
        for number, old in before.items():
            signal.signal(number, old)
