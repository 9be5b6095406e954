"""Connections that are held as long as a job lasts, for a snapshot or a staging table, and closed behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_held: ContextVar[contextlib.ExitStack | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def held_open() -> Iterator[None]:
    """Around a job: what `until_done` was given within is called at its end, the last first."""
    with contextlib.ExitStack() as stack:
        before = _held.set(stack)
        try:
            yield
        finally:
            _held.reset(before)


def until_done(close: Callable[[], object]) -> None:
    """Call this when the job is done; where there is none it is at once.

    >>> with held_open():
    ...     until_done(lambda: print("closed"))
    ...     print("at work")
    at work
    closed
    """
    stack = _held.get()
    if stack is None:
        close()
    else:
        stack.callback(close)
