"""A thread that looks at something again and again while a job runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Poller:
    """While it is entered, calls `look` every so many seconds until that is true; its thread ends with the block.

    Args:
        name: of the thread.
        seconds: between two looks.
        look: whether there is nothing more to look for; None where there is nothing to look at, and no thread.
        at_end: look once more when the block is over, if there still is something to look for.
    """

    def __init__(self, name: str, seconds: float, look: Callable[[], bool] | None, at_end: bool = False):
        self._look, self._seconds, self._at_end = look, seconds, at_end
        self._over = threading.Event()
        self._found = False
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self) -> Poller:
        if self._look is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._look is None:
            return
        self._thread.join()
        if self._at_end and not self._found:
            self._look()

    def _watch(self) -> None:
        assert self._look is not None
        while not self._found and not self._over.wait(self._seconds):
            self._found = self._look()
