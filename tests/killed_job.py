"""`python -m tests.killed_job MOMENT COUNT ...`: `score` with `--resume`, killed with -9 at a moment of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.waiting import DEADLINE

ROOT = Path(__file__).parents[1]

MOMENTS = {
    "begun": ("transforms.resume.folder", "KeptFolder.note_begun"),
    "written": ("transforms.resume.folder", "KeptFolder.write_record"),
    "all done": ("transforms.resume.finish", "_settle"),
    "named": ("transforms.resume.finish", "move_all"),
    "removed": ("transforms.resume.finish", "remove"),
    "committed to delta": ("transforms.tables.delta_write", "DeltaCommit._commit"),
    "committed to iceberg": ("transforms.tables.iceberg_write", "IcebergCommit._commit"),
    "committed to lance": ("transforms.tables.lance_write", "LanceCommit._commit"),
    "over": ("pipelines.resume.kept", "Kept.remove"),
}
"""Moment -> what is called then: a split is begun, its files are written, all are, ..."""


def kill_at(moment: str, count: int, folder: Path, argv: list[str], **environment: str) -> None:
    """Run the command in a folder, and kill it where `moment` comes when it has come `count` times before."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    given = [sys.executable, "-m", "tests.killed_job", moment, str(count), *argv]
    done = subprocess.run(
        given,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def _kill_before(moment: str, count: int) -> None:
    """Let the process be killed when so many calls were made."""
    module, path = MOMENTS[moment]
    *classes, name = path.split(".")
    owner: Any = import_module(f"beamsplit.{module}")
    for one in classes:
        owner = getattr(owner, one)
    call, calls, lock = getattr(owner, name), itertools.count(), threading.Lock()

    def counted(*args: Any, **kwargs: Any) -> Any:
        with lock:
            if next(calls) >= count:
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    from beamsplit.pipelines.score import main

    _kill_before(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
