"""Which worker is this: local workers of a job count themselves in a folder that they share."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

_LOCAL = threading.local()
_LOCK = threading.Lock()

COUNTS = ("rows_done", "rows_failed")
"""What a worker keeps count of while it runs, each an int64 in its file."""


class WorkerFile:
    """One worker thread's row counts in a file of the job's folder, there to be read while the job runs.

    The submitter cannot ask Beam's in-process runner for metrics before the job ends; this is what its progress
    bar reads. The slot number is the worker's number: files are made with O_EXCL, so no two workers, be they
    threads or processes, share one.
    """

    def __init__(self, job_dir: str):
        self.number = self._claim(Path(job_dir))
        self._counts = np.memmap(Path(job_dir) / f"worker-{self.number}", dtype=np.int64, mode="r+", shape=(2,))

    @staticmethod
    def _claim(job_dir: Path) -> int:
        number = 0
        while True:
            try:
                with open(job_dir / f"worker-{number}", "xb") as file:
                    file.write(bytes(8 * len(COUNTS)))
                return number
            except FileExistsError:
                number += 1

    def add(self, done: int, failed: int) -> None:
        """Count rows that are through the model, and rows that failed anywhere."""
        self._counts[0] += done
        self._counts[1] += failed


def this_worker(job_dir: str) -> WorkerFile:
    """The file of the calling thread, claimed on first use."""
    files = _LOCAL.__dict__.setdefault("files", {})
    if job_dir not in files:
        files[job_dir] = WorkerFile(job_dir)
    return files[job_dir]


def read_counts(job_dir: str) -> list[tuple[int, int]]:
    """(rows done, rows failed) of each worker, by number."""
    counts = []
    for path in sorted(Path(job_dir).glob("worker-*"), key=lambda path: int(path.name.split("-")[1])):
        data = path.read_bytes()
        if len(data) == 8 * len(COUNTS):
            done, failed = np.frombuffer(data, dtype=np.int64).tolist()
            counts.append((done, failed))
    return counts


def device_in_turn(job_dir: str | None, devices: int) -> int:
    """The GPU for the calling worker: its number among the job's local workers, or else its process id, in turn."""
    with _LOCK:
        number = this_worker(job_dir).number if job_dir and os.path.isdir(job_dir) else os.getpid()
    return number % devices
