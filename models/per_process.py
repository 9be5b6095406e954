"""What each process makes once and keeps, for all of its threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class PerProcess(Generic[K, V]):
    """Values by what they are made of: made by the first thread that asks, while others wait; kept until dropped.

        sessions = PerProcess(StagedSession)
        sessions.get(model) is sessions.get(model)

    A forked child begins with none: it has none of its parent's threads, nor one that held the lock. What its parent
    made is not ended there: a session would wait for its threads, for ever.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        """`make` gives a value; what it raises reaches who asked, and the next that asks makes it anew."""
        self._make = make
        self._inherited: list[dict[K, V]] = []
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def get(self, key: K) -> V:
        """The value, made by the first call."""
        with self._lock:
            value = self._values.get(key)
            if value is None:
                value = self._values[key] = self._make(key)
            return value

    def known(self, key: K) -> V | None:
        """The value if it was made in this process, else None."""
        with self._lock:
            return self._values.get(key)

    def drop(self, key: K, value: V) -> None:
        """Let go of the value, if it is the one that is kept."""
        with self._lock:
            if self._values.get(key) is value:
                del self._values[key]

    def _forget(self) -> None:
        self._inherited.append(self._values)
        self._values = {}
        self._lock = threading.Lock()
