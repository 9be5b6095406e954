"""A pipeline run to its end beside its worker processes, and what is known of these."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from beamsplit.runners import direct, process_worker
from beamsplit.runners.direct import run_direct
from beamsplit.runners.worker_processes import WorkerEnded, WorkerProcesses, worker_processes

ROOT = Path(__file__).parents[2]


class Pipeline:
    """Runs `act`, which gives its result."""

    def __init__(self, act):
        self.act = act

    def run(self):
        return Result(self.act())


class Result:
    def __init__(self, value):
        self.value = value

    def wait_until_finish(self):
        pass


def test_run_direct_gives_the_result_or_raises_the_failure():
    assert run_direct(Pipeline(lambda: 7)).value == 7

    def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_direct(Pipeline(fail))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (137, r"was killed \(SIGKILL\), perhaps because memory was short"),
        (-9, r"was killed \(SIGKILL\)"),
        (-11, "was ended by SIGSEGV"),
        (3, "ended by itself, with exit code 3$"),
    ],
)
def test_a_runner_that_waits_for_ever_for_a_worker_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str
):
    monkeypatch.setattr(direct, "GIVE_UP_SECONDS", 0.01)
    for_ever = threading.Event()
    with pytest.raises(WorkerEnded, match=told), worker_processes(str(tmp_path)) as processes:
        processes.codes.append(code)
        run_direct(Pipeline(for_ever.wait), processes)
    for_ever.set()


def test_why_a_worker_failed_is_told_where_it_said_so(tmp_path: Path):
    with pytest.raises(WorkerEnded) as caught, worker_processes(str(tmp_path)) as processes:
        (processes.folder / "12").touch()
        (processes.folder / "13").write_text("cannot allocate memory", encoding="utf-8")
        processes.codes.append(1)
        processes.raise_ended()
    said = "a worker process ended by itself, with exit code 1: cannot allocate memory; memory may be short: "
    assert str(caught.value) == f"{said}try fewer --workers"


def test_a_worker_that_fails_leaves_its_reason_and_waits_for_no_thread(tmp_path: Path):
    code = """
import threading
from beamsplit.runners import process_worker
def main():
    threading.Thread(target=threading.Event().wait).start()
    raise MemoryError("no room for ü")
process_worker.main = main
process_worker.run()
"""
    env = os.environ | {process_worker.FOLDER: str(tmp_path)}
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.PIPE)
    assert worker.communicate(timeout=300) == (None, b"")
    assert (worker.returncode, (tmp_path / str(worker.pid)).read_text(encoding="utf-8")) == (1, "no room for ü")


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError(), OSError(12, "Cannot allocate memory")]
)
def test_a_thread_of_beam_that_lacks_memory_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    monkeypatch.setattr(direct, "GIVE_UP_SECONDS", 0.01)
    for_ever = threading.Event()
    scope = {"__name__": "apache_beam.fake", "error": error}
    exec("def fail(): raise error", scope)
    with pytest.raises(WorkerEnded, match="cannot be started or reached"), worker_processes(str(tmp_path)) as processes:
        threading.Thread(target=scope["fail"]).start()
        run_direct(Pipeline(for_ever.wait), processes)
    for_ever.set()


def test_a_runner_that_fails_and_waits_for_its_workers_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(direct, "GIVE_UP_SECONDS", 0.01)
    for_ever = threading.Event()
    monkeypatch.setattr(worker_handlers.WorkerHandlerManager, "close_all", lambda _: for_ever.wait())

    def fail():
        try:
            raise ValueError("no room")
        finally:
            worker_handlers.WorkerHandlerManager.close_all(None)

    with pytest.raises(ValueError, match="no room"), worker_processes(str(tmp_path)) as processes:
        run_direct(Pipeline(fail), processes)
    for_ever.set()


def test_threads_of_others_are_none_of_the_workers(tmp_path: Path):
    seen: list[object] = []
    processes = WorkerProcesses(str(tmp_path))
    processes._hook(seen.append)(threading.ExceptHookArgs([MemoryError, MemoryError(), None, None]))
    assert len(seen) == 1 and not processes.failed


def test_workers_that_end_when_the_job_is_done_are_no_failure(tmp_path: Path):
    with worker_processes(str(tmp_path)) as processes:
        processes.codes.append(1)
        assert run_direct(Pipeline(lambda: 7), processes).value == 7


def test_end_kills_those_that_run_and_waits(tmp_path: Path):
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / "processes"
    folder.mkdir()
    for process in (running, ended):
        (folder / str(process.pid)).touch()
    WorkerProcesses(str(folder)).end()
    assert running.wait(300) == -9
    assert not folder.exists(), "none may begin any more"


def test_a_worker_that_begins_when_the_job_is_over_says_nothing_and_goes(tmp_path: Path):
    code = f"from beamsplit.runners.process_worker import _tie; _tie({str(tmp_path / 'gone')!r}); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_is_not_for_a_worker_that_is_being_started(tmp_path: Path):
    command = WorkerProcesses(str(tmp_path)).command()
    start, _, program = command.partition("exec ")
    assert program
    script = f"{start}exec {sys.executable} -c 'import signal; print(signal.getsignal(signal.SIGINT).name)'"
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout == "SIG_IGN\n"
