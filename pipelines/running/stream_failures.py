"""Ends a stream that its workers elsewhere cannot go on with: their runner would start it again for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamsplit.pipelines.running.poller import Poller
from beamsplit.transforms.kafka.ending import told_by

LOOK_SECONDS = 1.0


class FailuresElsewhere(Poller):
    """While it is entered, looks at what the job has failed of, and calls with why it cannot go on, once.

    Args:
        runner: of the job; None where workers are on this machine, who tell by files. One that does not tell of
            failures is left to its own ways.
        call: with one line.
        seconds: between two looks.
    """

    def __init__(self, runner: Any, call: Callable[[str], None], seconds: float = LOOK_SECONDS):
        self._failures: Callable[[], str] | None = getattr(runner, "failures", None)
        self._call = call
        super().__init__("failures-elsewhere", seconds, self._end_if_told if self._failures is not None else None)

    def _end_if_told(self) -> bool:
        assert self._failures is not None
        told = told_by(self._failures())
        if told is not None:
            self._call(told)
        return told is not None
