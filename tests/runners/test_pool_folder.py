"""A worker pool of its own (`python -m beamsplit.runners.worker_pool`) leaves no folder, however it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beamsplit.runners.pool_folder import LOCK, PREFIX, pool_folder
from tests.waiting import DEADLINE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def sidecar() -> subprocess.Popen[str]:
    """One that runs."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were started with nohup do not hear it either
    command = [sys.executable, "-m", "beamsplit.runners.worker_pool", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGHUP, before)
    assert process.stdout is not None and process.stdout.readline().startswith("worker pool at ")
    return process


def test_a_pool_that_is_ended_leaves_nothing_and_one_that_is_killed_until_the_next(folder: Path):
    killed, ended = sidecar(), [(sidecar(), number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert len(list(folder.glob(f"{PREFIX}*"))) == 3
    for process, number in ended:
        process.send_signal(number)
        process.send_signal(number)
        assert "Traceback" not in process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == 128 + number
    (left,) = folder.iterdir()
    with pool_folder():
        assert left.exists()  # it is used
    killed.kill()
    killed.communicate()
    assert left.exists()
    with pool_folder() as own:
        assert list(folder.iterdir()) == [own]
    assert list(folder.iterdir()) == []


def test_what_is_no_folder_of_a_pool_stays(folder: Path):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / LOCK).touch()
    (folder / f"{PREFIX}link").symlink_to(folder / "elsewhere")
    (folder / f"{PREFIX}file").touch()
    (folder / f"{PREFIX}mine").mkdir()
    (folder / f"{PREFIX}lock").mkdir()
    os.symlink(folder / "elsewhere" / LOCK, folder / f"{PREFIX}lock" / LOCK)
    before = sorted(folder.rglob("*"))
    with pool_folder():
        assert set(before) < set(folder.rglob("*"))
    assert sorted(folder.rglob("*")) == before
