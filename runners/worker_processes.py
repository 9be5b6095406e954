"""The worker processes of one job on this machine, as the submitter knows them: by files in a folder."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from runners.process_worker import FOLDER, LOUD

GONE_SECONDS = 5.0
"""Longest that `end` waits for processes that it has killed."""

TOLD_SECONDS = 20.0
"""Longest that a worker's exit code is waited for, once its channel is closed."""

_ENDED = re.compile(r"Worker subprocess exited with return code (-?\d+)")


class WorkerEnded(RuntimeError):
    """A worker process ended while the job ran, in one line."""


class WorkerProcesses:
    """What Beam starts as worker processes.

    Args:
        folder: in which each leaves a file named by its process id.
        loud: whether they and Beam's threads here may print what they like.
    """

    def __init__(self, folder: str, loud: bool = False):
        self.folder = Path(folder)
        self.loud = loud
        self.codes: list[int] = []
        """Exit codes, as a shell gives them, of those that ended before the job did."""

        self.last_words: Callable[[], str | None] = lambda: None
        """What a worker said that ended itself, in one line."""

        self.killed = False
        """Whether they were ended from here: that is no reason for the job to fail."""

    def command(self) -> str:
        """The shell command that starts one."""
        said = [f"{FOLDER}={self.folder}", *([f"{LOUD}=1"] if self.loud else [])]
        # exec: the worker itself is our child, so it hears of our end. Ctrl-C, which reaches all that share the
        # terminal, is for the command alone, also before the worker has a session of its own.
        return f"trap '' INT; exec env {shlex.join([*said, sys.executable, '-m', 'runners.process_worker'])}"

    def end(self) -> None:
        """Kill those that run, and wait until they are gone."""
        self.killed = True
        # One that is just being started finds no folder from now on, and ends by itself.
        over = self.folder.with_name(f"{self.folder.name}-over")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(over)
        pids = [int(path.name) for path in over.glob("*") if path.name.isdigit()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + GONE_SECONDS
        while any(map(_runs, pids)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def told(self, seconds: float = 0.0) -> str | None:
        """Why the job failed, if that is because a worker ended; None if none did within `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.codes and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.codes and (said := self.last_words()) is not None:
            return said
        killed = [code for code in self.codes if code in (-signal.SIGKILL, 128 + signal.SIGKILL)]
        if killed:
            return "a worker process was killed, perhaps because memory was short: try fewer --workers"
        return f"a worker process ended by itself, with exit code {self.codes[0]}" if self.codes else None

    def raise_ended(self) -> NoReturn:
        """Raise what `told` tells."""
        raise WorkerEnded(self.told())

    def _hook(self, before: Any) -> Any:
        """For `threading.excepthook`: what Beam's threads die of is kept in `codes` and not printed, unless `loud`."""

        def hook(args: Any) -> None:
            ended = _ENDED.search(str(args.exc_value))
            if ended:
                self.codes.append(int(ended[1]))
            if self.loud or not _of_beam(args.exc_traceback):
                before(args)

        return hook


@contextlib.contextmanager
def worker_processes(folder: str, loud: bool = False) -> Iterator[WorkerProcesses]:
    """The worker processes of the job that runs inside.

    Args:
        folder: of the job.
        loud: as for `WorkerProcesses`.

    Raises:
        WorkerEnded: the job failed because one of them ended.
    """
    processes = WorkerProcesses(os.path.join(folder, "processes"), loud)
    processes.folder.mkdir()
    before = threading.excepthook
    threading.excepthook = processes._hook(before)
    try:
        yield processes
    except WorkerEnded:
        processes.end()
        raise
    except Exception as error:
        # Threads of Beam may outlive the job by a moment, and would print what they die of: the hook stays.
        if processes.killed:
            raise
        told = processes.told(TOLD_SECONDS if "Channel closed" in str(error) else 0.0)
        if told is None:
            raise
        raise WorkerEnded(told) from error
    else:
        threading.excepthook = before


def _of_beam(traceback: Any) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").startswith("apache_beam."):
            return True
        traceback = traceback.tb_next
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number is another's by now
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Ended, but Beam's thread has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, IndexError):
        return False
