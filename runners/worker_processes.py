"""The worker processes of one job on this machine, as the submitter knows them: by files in a folder."""

from __future__ import annotations

import contextlib
import errno
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

from beamsplit.runners.beam_patches.closing_workers import exit_code_told, watch_closing
from beamsplit.runners.process_worker import FOLDER, LOUD

GONE_SECONDS = 5.0
"""Longest that `end` waits for processes that it has killed."""

TOLD_SECONDS = 20.0
"""Longest that a worker's exit code is waited for, once its channel is closed."""

_SHORT = re.compile(
    r"(?i)memory|can't start new thread|bad_alloc|failed to map segment|resource temporarily unavailable"
)
"""In reasons that memory is short, or a limit of the system was met."""


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

        self.lacks: list[str] = []
        """Why threads of Beam in this process ended for want of memory, threads or processes; Beam waits for them."""

        self.failure: BaseException | None = None
        """Why the runner has failed, which it tells only when all workers have ended; it may wait for that for ever."""

        self.last_words: Callable[[], str | None] = lambda: None
        """What a worker said that ended itself, in one line."""

        self.killed = False
        """Whether they were ended from here: that is no reason for the job to fail."""

    def command(self) -> str:
        """The shell command that starts one."""
        said = [f"{FOLDER}={self.folder}", *([f"{LOUD}=1"] if self.loud else [])]
        # exec: the worker itself is our child, so it hears of our end. Ctrl-C, which reaches all that share the
        # terminal, is for the command alone, also before the worker has a session of its own.
        return f"trap '' INT; exec env {shlex.join([*said, sys.executable, '-m', 'beamsplit.runners.process_worker'])}"

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
        while not self.failed and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.codes and (said := self.last_words()) is not None:
            return said
        signals = [code for code in map(_signal_of, self.codes) if code is not None]
        if signal.SIGKILL in signals:
            return "a worker process was killed (SIGKILL), perhaps because memory was short: try fewer --workers"
        if signals:
            return f"a worker process was ended by {signals[0].name}"
        said = next(iter([*self._said(), *self.lacks]), None)
        short = "; memory may be short: try fewer --workers" if said is not None and _SHORT.search(said) else ""
        if self.codes:
            why = f": {said}" if said is not None else ""
            return f"a worker process ended by itself, with exit code {self.codes[0]}{why}{short}"
        return f"worker processes cannot be started or reached: {said}{short}" if self.lacks else None

    @property
    def failed(self) -> bool:
        """Whether a worker ended before the job did, or cannot be reached: the runner may not notice."""
        return bool(self.codes or self.lacks or self.failure)

    def _said(self) -> list[str]:
        """What workers that failed left in their files."""
        return [text for path in self.folder.glob("*") if (text := path.read_text(encoding="utf-8"))]

    def raise_ended(self) -> NoReturn:
        """Raise what `told` tells, or else the runner's failure."""
        told = self.told()
        if told is None and self.failure is not None:
            self.end()
            raise self.failure
        raise WorkerEnded(told)

    def note_failure(self, failure: BaseException | None) -> None:
        """Take note of why the runner ends its workers."""
        self.failure = failure

    def _hook(self, before: Any) -> Any:
        """For `threading.excepthook`: what Beam's threads die of is kept in `codes` and not printed, unless `loud`."""

        def hook(args: Any) -> None:
            code = exit_code_told(args.exc_value)
            if code is not None:
                self.codes.append(code)
            elif _of_beam(args.exc_traceback) and _lacks(args.exc_value):
                self.lacks.append(" ".join(str(args.exc_value).split()) or type(args.exc_value).__name__)
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
    undo = watch_closing(processes.note_failure)
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
    finally:
        undo()


def _lacks(error: BaseException | None) -> bool:
    """Whether what failed wanted memory, threads, processes or files that the system does not give."""
    few = isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
    return few or isinstance(error, MemoryError) or _SHORT.search(str(error)) is not None


def _of_beam(traceback: Any) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").startswith("apache_beam."):
            return True
        traceback = traceback.tb_next
    return False


def _signal_of(code: int) -> signal.Signals | None:
    """The signal that ended a process, of its exit code as Python or a shell gives it."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number) if number in {*signal.Signals} else None


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
