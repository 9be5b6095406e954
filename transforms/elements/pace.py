"""When rows that wait for others are to go on. No Beam."""

from __future__ import annotations

import time

TRUSTED_BUNDLES = 3
"""Bundles in turn without a pause, after which a source is taken to end its bundles where it has no more to give."""


LONE_ROWS = 8
"""Rows of a burst, its first, that go on as they come whatever scoring them takes."""


class Pace:
    """Tells, row by row, whether rows have waited long enough.

    A runner ends its bundle where a source has no more to give, and rows go on then. Within a bundle nothing happens
    between two rows, so each decides as it comes:

        rows      r r r r r r r r r r        r                r
                  |       longer than the    |                |  after a pause: rows come rarely, and one that waited
                  |       wait after the first                   for the next would wait longer than allowed
                  first

    Some sources keep their bundle open while they wait for more, so that the last rows of a burst would wait for the
    next. Until bundles have shown that theirs does not, and again once a pause within a bundle has shown that it does,
    rows go on as they come, `LONE_ROWS` of them and all of the time that rows may wait; of what comes without a pause
    for longer there is so much that to score each row alone would take too long.

    Args:
        wait_seconds: longest that a row waits while others come; None: for the end of the bundle.
    """

    def __init__(self, wait_seconds: float | None) -> None:
        self._wait = wait_seconds
        self._first = self._last = self._burst = float("-inf")
        self._without_pause = 0
        self._rows = self._in_burst = 0

    def start_bundle(self) -> None:
        """A bundle begins, and the one before has ended."""
        self._without_pause += 1 if self._rows else 0
        self._rows = 0

    def went_on(self) -> None:
        """Rows have gone on: what that took is no pause of the source."""
        self._last = time.monotonic()

    def is_over(self, is_first: bool) -> bool:
        """Whether all rows go on now, with one that has just come; `is_first` if it is the only one."""
        if self._wait is None:
            return False
        now = time.monotonic()
        pause, self._last = now - self._last, now
        if is_first:
            self._first = now
        if pause > self._wait:
            self._burst, self._in_burst = now, 0
            if self._rows:
                self._without_pause = 0
        self._rows += 1
        self._in_burst += 1
        ends = self._without_pause >= TRUSTED_BUNDLES
        lone = self._in_burst == 1 if ends else self._in_burst <= LONE_ROWS or now - self._burst <= self._wait
        return lone or now - self._first > self._wait
