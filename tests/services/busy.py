"""Which worker process of a stream has done what."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import psutil

from beamsplit.transforms.worker import STEPS, WORKER
from tests.waiting import wait_until


def worker_processes(command: int) -> list[psutil.Process]:
    """Those of a command, by its process id; the shell that waits for our end beside each is none."""
    return [child for child in psutil.Process(command).children(recursive=True) if _is_worker(child)]


def rows_by_process(command: int) -> dict[int, int]:
    """Process id of each worker of a command -> rows that it has done, of steps of a model too.

    A worker counts in files of the job's folder, which it maps.
    """
    found = {}
    for worker in worker_processes(command):
        with contextlib.suppress(psutil.Error):  # it ends
            files = {Path(part.path) for part in worker.memory_maps()}
            counts = [path.read_bytes() for path in files if path.name.startswith((f"{WORKER}-", f"{STEPS}-"))]
            found[worker.pid] = sum(int(np.frombuffer(each, np.int64).sum()) for each in counts)
    return found


def wait_until_all_work(command: int, processes: int) -> dict[int, int]:
    """Wait until so many workers of a command are there, each with rows and none without; gives the rows of each."""
    found: dict[int, int] = {}

    def all_work() -> bool:
        found.clear()
        found.update(rows_by_process(command))
        return len(found) == processes and all(found.values())

    try:
        wait_until(all_work, f"{processes} workers, each with rows")
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {told(command, found)}") from error
    return found


def told(command: int, rows: dict[int, int]) -> str:
    """Rows and processor seconds of each worker, for a failure's message."""
    seconds = {}
    for worker in worker_processes(command):
        with contextlib.suppress(psutil.Error):
            seconds[worker.pid] = round(sum(worker.cpu_times()[:2]), 1)
    return ", ".join(f"{pid}: {rows.get(pid, 0)} rows, {spent} s of a core" for pid, spent in seconds.items())


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() != "sh" and "beamsplit.runners.pool_worker" in process.cmdline()
    return False
