"""Says at once that the first messages of a stream all failed, and why."""

from __future__ import annotations

import sys
from typing import TextIO

from beamsplit.pipelines.running.poller import Poller
from beamsplit.transforms.failures.first_failures import FIRST, all_failed
from beamsplit.transforms.failures.kinds import read_tallies

LOOK_SECONDS = 0.5


class TellFirstFailures(Poller):
    """While it is entered, looks whether the first messages all failed, and prints that once.

    Args:
        job_dir: folder of the job; None where the workers are elsewhere, which cannot be looked at.
        errors: where the others are told: a topic or a file; None where they are shown.
    """

    def __init__(self, job_dir: str | None, errors: str | None, stream: TextIO | None = None):
        self._job_dir, self._errors = job_dir, errors
        self._stream = stream if stream is not None else sys.stderr
        super().__init__("first-failures", LOOK_SECONDS, self._tell if job_dir is not None else None, at_end=True)

    def _tell(self) -> bool:
        assert self._job_dir is not None
        if not all_failed(self._job_dir):
            return False
        kinds = read_tallies(self._job_dir).listed()
        why = f", most often in {kinds[0].stage}: {kinds[0].reason}" if kinds else ""
        more = f"; all are in {self._errors}" if self._errors else ""
        print(f"warning: the first {FIRST:,} messages all failed{why}{more}", file=self._stream, flush=True)
        return True
