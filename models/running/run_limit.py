"""Runs of a model that do not return in time: each is told to stop, and what does not heed that ends the process.

    run       begin ------------- limit ------- return, or RunTimeout
    watch            sleeps         | terminate = True ... GRACE ... end(what ran)

ONNX Runtime heeds it between two nodes, also within the body of a Loop, but not within a node.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnxruntime as ort

LEAST_GRACE, MOST_GRACE = 5.0, 30.0
"""How long a run that was told to stop may take to do so: as long as it had, within these bounds. In seconds."""

STUCK = 70
"""Exit code of a worker process that ends for a run that does not stop."""

TOLD = "stuck-"
"""Begins the names of files in a job's folder, in which such workers say so."""


class Block(Protocol):
    """What rows of a block are called, and where its workers tell of them."""

    @property
    def job_dir(self) -> str | None:
        """Folder that the job's local workers share; None on a cluster."""

    def describe(self, run: Any) -> str:
        """Rows of a block, a slice or positions, by where they came from."""


@dataclass
class Context(threading.local):
    """What the thread is about to run, for whoever must name it."""

    block: Block | None = None
    run: Any = None


context = Context()


@dataclass(eq=False)
class _Running:
    seconds: float
    block: Block | None
    run: Any
    options: ort.RunOptions = field(default_factory=ort.RunOptions)
    begun: float = 0.0
    until: float = 0.0
    told: bool = False

    @property
    def rows(self) -> str:
        """What is run, in words."""
        return "sample rows" if self.block is None else self.block.describe(self.run)


class _Watch:
    """The runs under way in this process, and the thread that looks at them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[_Running] = set()
        self._wakes = 0.0
        """When the thread looks next; infinite while nothing runs, 0 where there is no thread."""

    def begin(self, running: _Running) -> None:
        running.begun = time.monotonic()
        running.until = running.begun + running.seconds
        with self._changed:
            self._running.add(running)
            if not self._wakes:
                threading.Thread(target=self._look, name="run-limit", daemon=True).start()
            if running.until < self._wakes:
                self._changed.notify()
            self._wakes = min(self._wakes or running.until, running.until)

    def over(self, running: _Running) -> None:
        with self._changed:
            self._running.discard(running)

    def oldest(self) -> _Running | None:
        with self._changed:
            return min(self._running, key=lambda one: one.begun, default=None)

    def _look(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                stuck = [one for one in self._running if one.told and one.until <= now]
                for one in self._running:
                    if not one.told and one.until <= now:
                        one.options.terminate = True
                        one.told, one.until = True, now + min(MOST_GRACE, max(LEAST_GRACE, one.seconds))
                self._wakes = min((one.until for one in self._running if one not in stuck), default=float("inf"))
                if not stuck:
                    self._changed.wait(None if self._wakes == float("inf") else max(0.0, self._wakes - now))
                    continue
                self._running.difference_update(stuck)
            _end(stuck[0])


_watch = _Watch()
_end_process: list[Callable[[str], None]] = []


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[_Running]:
    """Around a run of a model: its `options` are for ONNX Runtime, and `told` says whether it was told to stop."""
    running = _Running(seconds, context.block, context.run)
    _watch.begin(running)
    try:
        yield running
    finally:
        _watch.over(running)


@contextlib.contextmanager
def ending_with(end: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, a run that does not stop is told to `end`, which ends this process."""
    _end_process.append(end)
    try:
        yield
    finally:
        _end_process.remove(end)


def longest() -> tuple[float, str] | None:
    """(seconds, rows) of the run that is under way for longest among those with a limit, be it infinite."""
    running = _watch.oldest()
    return None if running is None else (time.monotonic() - running.begun, running.rows)


def told(job_dir: str) -> str | None:
    """What workers of a job said that ended for such a run; None where there are none."""
    lines = [path.read_text(encoding="utf-8") for path in Path(job_dir).glob(f"{TOLD}*")]
    return next((line for line in sorted(lines) if line), None)


def _end(running: _Running) -> None:
    """End this process, saying what it cannot end."""
    line = (
        f"the model did not return within {running.seconds:g} s (--run_timeout) and does not heed being stopped, "
        f"with {running.rows}"
    )
    if _end_process:
        _end_process[-1](line)
        return
    job_dir = running.block.job_dir if running.block is not None else None
    with contextlib.suppress(OSError):
        if job_dir is not None:
            Path(job_dir, f"{TOLD}{os.getpid()}").write_text(line, encoding="utf-8")
        else:
            print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(STUCK)


def _forget() -> None:
    """A forked child runs nothing yet, and has no such thread."""
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
