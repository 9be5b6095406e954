"""`--max_failed` of a stream: it drains and ends once too many of its messages have failed."""

from __future__ import annotations

from pathlib import Path

from beamsplit.pipelines.report.summary import Summary
from beamsplit.pipelines.running.poller import Poller
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.failures.limit import FailureLimit, TooManyFailedError
from beamsplit.transforms.worker import read_counts

LOOK_SECONDS = 0.2
"""Between two looks at the counts."""


class StreamLimit(Poller):
    """While it is entered, looks at how many messages failed; the first time that is too many, lets the sources end.

    Args:
        limit: how many may; None for any.
        job_dir: where the workers leave their counts.
        stop_file: ends the sources when it is there: what was read is scored and committed.
    """

    def __init__(self, limit: FailureLimit | None, job_dir: str | None, stop_file: str | None) -> None:
        self._limit, self._job_dir, self._stop_file = limit, job_dir, stop_file
        self._ended = False
        watched = limit is not None and job_dir is not None and stop_file is not None
        super().__init__("failures", LOOK_SECONDS, self._end_if_too_many if watched else None)

    def _end_if_too_many(self) -> bool:
        assert self._limit is not None and self._job_dir is not None and self._stop_file is not None
        counts = read_counts(self._job_dir)
        failed = sum(failed for _, failed in counts)
        self._ended = self._limit.passed_so_far(failed, failed + sum(done for done, _ in counts))
        if self._ended:
            Path(self._stop_file).touch()
        return self._ended

    def passed(self, summary: Summary) -> TooManyFailedError | None:
        """Why the stream is no success: it was ended, or came to its end with too many failed. None if it is one."""
        if self._limit is None:
            return None
        failed, read = summary.rows_failed, summary.rows_scored + summary.rows_failed
        if not self._ended and not self._limit.passed(failed, read):
            return None
        kinds = read_tallies(self._job_dir).listed() if self._job_dir else []
        return self._limit.error(failed, read, kinds[0] if kinds else None)
