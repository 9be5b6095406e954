"""What each process makes once and keeps, for all of its threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class PerProcess(Generic[K, V]):
    """Values by what they are made of: made by the first thread that asks, while others that want the same wait; kept
    until dropped.

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
        self._making: dict[K, threading.Lock] = {}
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def get(self, key: K) -> V:
        """The value, made by the first call."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            value = self._values.get(key)
            if value is None:
                made = self._make(key)
                with self._lock:
                    value = self._values[key] = made
            return value

    def known(self, key: K) -> V | None:
        """The value if it was made in this process, else None."""
        with self._lock:
            return self._values.get(key)

    @property
    def keys(self) -> tuple[K, ...]:
        """What the values that are kept are made of."""
        with self._lock:
            return tuple(self._values)

    def drop(self, value: object) -> None:
        """Let go of a value; who still has it can go on using it."""
        with self._lock:
            for key in [key for key, kept in self._values.items() if kept is value]:
                del self._values[key]

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()

    def _forget(self) -> None:
        self._inherited.append(self._values)
        self._values, self._making = {}, {}
        self._lock = threading.Lock()
