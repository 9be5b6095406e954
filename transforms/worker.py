"""Which worker is this: local workers of a job count themselves in a folder that they share."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

_LOCAL = threading.local()
_LOCK = threading.Lock()

COUNTS = ("rows_done", "rows_failed")
"""What a worker keeps count of while it runs, each an int64 in its file."""


MOST_STEPS = 16
"""Steps of a model whose rows are counted one by one; later ones count as the last of them."""

WORKER, STEPS = "worker", "steps"
"""Begin the names of the files."""


class WorkerFile:
    """One worker thread's row counts in a file of the job's folder, there to be read while the job runs.

    The submitter cannot ask Beam's in-process runner for metrics before the job ends; this is what its progress
    bar reads. The slot number is the worker's number: files are made with O_EXCL, so no two workers, be they
    threads or processes, share one.
    """

    def __init__(self, job_dir: str):
        self.number, self._counts = _claim(Path(job_dir), WORKER, len(COUNTS))

    def add(self, done: int, failed: int) -> None:
        """Count rows that are through the model, and rows that failed anywhere."""
        self._counts[0] += done
        self._counts[1] += failed


class StepsFile:
    """The same of a thread that runs steps of a model that have workers of their own: rows through each step."""

    def __init__(self, job_dir: str):
        _, self._counts = _claim(Path(job_dir), STEPS, MOST_STEPS)

    def add(self, step: int, rows: int) -> None:
        """Count rows that are through a step, numbered from 0."""
        self._counts[min(step, MOST_STEPS - 1)] += rows


def _claim(job_dir: Path, kind: str, columns: int) -> tuple[int, Any]:
    """(number, counts) of a file that no other worker has."""
    number = 0
    while True:
        path = job_dir / f"{kind}-{number}"
        try:
            with open(path, "xb") as file:
                file.write(bytes(8 * columns))
        except FileExistsError:
            number += 1
            continue
        return number, np.memmap(path, dtype=np.int64, mode="r+", shape=(columns,))


def this_worker(job_dir: str) -> WorkerFile:
    """The file of the calling thread, claimed on first use."""
    files: dict[str, WorkerFile] = _LOCAL.__dict__.setdefault("files", {})
    if job_dir not in files:
        files[job_dir] = WorkerFile(job_dir)
    return files[job_dir]


def these_steps(job_dir: str) -> StepsFile:
    """The file of the calling thread's steps, claimed on first use."""
    files: dict[str, StepsFile] = _LOCAL.__dict__.setdefault("steps", {})
    if job_dir not in files:
        files[job_dir] = StepsFile(job_dir)
    return files[job_dir]


def read_counts(job_dir: str) -> list[tuple[int, int]]:
    """(rows done, rows failed) of each worker, by number."""
    return [(done, failed) for done, failed in _read(job_dir, WORKER, len(COUNTS))]


def read_steps(job_dir: str) -> list[int]:
    """Rows through each of the first `MOST_STEPS` steps, of all workers together."""
    return [sum(each) for each in zip(*_read(job_dir, STEPS, MOST_STEPS), strict=True)] or [0] * MOST_STEPS


def _read(job_dir: str, kind: str, columns: int) -> list[list[int]]:
    counts = []
    for path in sorted(Path(job_dir).glob(f"{kind}-*"), key=lambda path: int(path.name.split("-")[1])):
        data = path.read_bytes()
        if len(data) == 8 * columns:
            counts.append(np.frombuffer(data, dtype=np.int64).tolist())
    return counts


def device_in_turn(job_dir: str | None, devices: int) -> int:
    """The GPU for the calling worker: its number among the job's local workers, or else its process id, in turn."""
    with _LOCK:
        number = this_worker(job_dir).number if job_dir and os.path.isdir(job_dir) else os.getpid()
    return number % devices
