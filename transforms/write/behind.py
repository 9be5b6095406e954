"""A thread that writes while its caller computes the next block."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import Queue
from typing import Generic, TypeVar

T = TypeVar("T")


class _Stop:
    """Ends the thread when it comes out of the queue."""


_STOP = _Stop()


class WriteBehind(Generic[T]):
    """Calls `write` for each item on a thread of its own, in order, at most `depth` items behind.

        caller   score 1 | score 2 | score 3 |
        thread           | write 1 | write 2 | write 3

    The thread ends with `close`, with `cancel`, and when this object is collected. After an error the remaining
    items are dropped, so that the caller never waits for a thread that has stopped taking them.
    """

    def __init__(self, write: Callable[[T], None], depth: int = 2) -> None:
        self._queue: Queue[T | _Stop] = Queue(depth)
        self._errors: list[BaseException] = []
        self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=_drain, args=(self._queue, write, self._errors, self._cancelled), name="write-behind", daemon=True
        )
        self._thread.start()
        # The thread holds no reference to this object, so dropping it is enough to end the thread.
        self._stop = weakref.finalize(self, self._queue.put, _STOP)
        self._stop.atexit = False

    def put(self, item: T) -> None:
        """Hand over an item; waits while `depth` items are in the queue.

        Raises:
            BaseException: what `write` raised for an earlier item.
        """
        self._raise_first()
        self._queue.put(item)

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            BaseException: the first error of `write`.
        """
        self._end()
        self._raise_first()

    def cancel(self) -> None:
        """Drop what waits and wait for the thread's end; errors of `write` are not raised."""
        self._cancelled.set()
        self._end()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _end(self) -> None:
        self._stop()
        self._thread.join()

    def _raise_first(self) -> None:
        if self._errors:
            raise self._errors[0]


def _drain(
    queue: Queue[T | _Stop], write: Callable[[T], None], errors: list[BaseException], cancelled: threading.Event
) -> None:
    while not isinstance(item := queue.get(), _Stop):
        if errors or cancelled.is_set():
            continue
        try:
            write(item)
        except BaseException as error:
            errors.append(error)
        del item
