"""A stream that was asked to end does not wait for ever for a model that does not return."""

from __future__ import annotations

import os
from collections.abc import Callable

from beamsplit.models.running.run_limit import longest
from beamsplit.pipelines.running.poller import Poller

DRAIN_SECONDS = 10.0
"""How long a run of the model may take while the stream drains: what it runs will be read again."""

LOOK_SECONDS = 0.2


class DrainLimit(Poller):
    """While it lasts, `end` is called with the reason if a run in this process takes too long once the stream drains.

    Args:
        stop_file: is there once the stream was asked to end; None where it is not asked by a file.
        end: ends the process.
        seconds: that a run may take.
    """

    def __init__(self, stop_file: str | None, end: Callable[[str], None], seconds: float = DRAIN_SECONDS):
        self._stop_file, self._end, self._seconds_of_run = stop_file, end, seconds
        super().__init__("drain-limit", LOOK_SECONDS, self._end_if_stuck if stop_file is not None else None)

    def _end_if_stuck(self) -> bool:
        assert self._stop_file is not None
        under_way = longest()
        if under_way is None or under_way[0] < self._seconds_of_run or not os.path.exists(self._stop_file):
            return False
        self._end(f"the model does not return with {under_way[1]}; --run_timeout ends such runs")
        return True
