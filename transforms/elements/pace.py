"""When rows that wait for others are to go on. No Beam."""

from __future__ import annotations

import time


class Pace:
    """Tells, row by row, whether rows have waited long enough.

    A runner ends its bundle where a source has no more to give, and rows go on then. Within a bundle nothing happens
    between two rows, so each decides as it comes:

        rows      r r r r r r r r r r        r                r
                  |       longer than the    |                |  after a pause: rows come rarely, and one that waited
                  |       wait after the first                   for the next would wait longer than allowed
                  first

    Args:
        wait_seconds: longest that a row waits while others come; None: for the end of the bundle.
    """

    def __init__(self, wait_seconds: float | None) -> None:
        self._wait = wait_seconds
        self._first = self._last = float("-inf")

    def is_over(self, is_first: bool) -> bool:
        """Whether all rows go on now, with one that has just come; `is_first` if it is the only one."""
        if self._wait is None:
            return False
        now = time.monotonic()
        pause, self._last = now - self._last, now
        if is_first:
            self._first = now
        return pause > self._wait or now - self._first > self._wait
