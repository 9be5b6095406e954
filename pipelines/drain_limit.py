"""A stream that was asked to end does not wait for ever for a model that does not return."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from models.run_limit import longest

DRAIN_SECONDS = 10.0
"""How long a run of the model may take while the stream drains: what it runs will be read again."""

LOOK_SECONDS = 0.2


class DrainLimit:
    """While it lasts, `end` is called with the reason if a run in this process takes too long once the stream drains.

    Args:
        stop_file: is there once the stream was asked to end; None where it is not asked by a file.
        end: ends the process.
        seconds: that a run may take.
    """

    def __init__(self, stop_file: str | None, end: Callable[[str], None], seconds: float = DRAIN_SECONDS):
        self._stop_file, self._end, self._seconds = stop_file, end, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="drain-limit", daemon=True)

    def __enter__(self) -> DrainLimit:
        if self._stop_file is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._stop_file is not None:
            self._thread.join()

    def _watch(self) -> None:
        assert self._stop_file is not None
        while not self._over.wait(LOOK_SECONDS):
            under_way = longest()
            if under_way is None or under_way[0] < self._seconds or not os.path.exists(self._stop_file):
                continue
            self._end(f"the model does not return with {under_way[1]}; --run_timeout ends such runs")
            return
