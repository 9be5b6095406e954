"""Waiting for what other threads and processes bring about, on a machine of any speed and under any load."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

DEADLINE = 300.0
"""Seconds until a test gives up waiting. So many pass only where something is broken: a slow machine takes less."""


def wait_until(condition: Callable[[], object], what: str = "the condition", seconds: float = DEADLINE) -> None:
    """Wait for a condition."""
    end, pause = time.monotonic() + seconds, 0.001
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)
        pause = min(1.3 * pause, 0.1)


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended does not, also where nobody has asked yet how (a zombie)."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
