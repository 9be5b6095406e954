"""Says at once that the first messages of a stream all failed, and why."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from transforms.failure_kinds import read_tallies
from transforms.first_failures import FIRST, all_failed

LOOK_SECONDS = 0.5


class TellFirstFailures:
    """While it is entered, looks whether the first messages all failed, and prints that once.

    Args:
        job_dir: folder of the job; None where the workers are elsewhere, which cannot be looked at.
        errors: where the others are told: a topic or a file; None where they are shown.
    """

    def __init__(self, job_dir: str | None, errors: str | None, stream: TextIO | None = None):
        self._job_dir, self._errors = job_dir, errors
        self._stream = stream if stream is not None else sys.stderr
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="first-failures", daemon=True)
        self._told = False

    def __enter__(self) -> TellFirstFailures:
        if self._job_dir is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._job_dir is not None:
            self._thread.join()
            self._look(self._job_dir)

    def _watch(self) -> None:
        while not self._told and not self._over.wait(LOOK_SECONDS):
            self._look(self._job_dir or "")

    def _look(self, job_dir: str) -> None:
        if self._told or not all_failed(job_dir):
            return
        self._told = True
        kinds = read_tallies(job_dir).listed()
        why = f", most often in {kinds[0].stage}: {kinds[0].reason}" if kinds else ""
        more = f"; all are in {self._errors}" if self._errors else ""
        print(f"warning: the first {FIRST:,} messages all failed{why}{more}", file=self._stream, flush=True)
