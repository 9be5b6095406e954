"""A pipeline run to its end beside its worker processes, and what is known of these."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runners import direct
from runners.direct import run_direct
from runners.worker_processes import WorkerEnded, WorkerProcesses, worker_processes

ROOT = Path(__file__).parent.parent


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
    [(137, "was killed, perhaps because memory was short"), (-9, "was killed"), (3, "with exit code 3")],
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
    code = f"from runners.process_worker import _tie; _tie({str(tmp_path / 'gone')!r}); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_is_not_for_a_worker_that_is_being_started(tmp_path: Path):
    command = WorkerProcesses(str(tmp_path)).command()
    start, _, program = command.partition("exec ")
    assert program
    script = f"{start}exec {sys.executable} -c 'import signal; print(signal.getsignal(signal.SIGINT).name)'"
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout == "SIG_IGN\n"
