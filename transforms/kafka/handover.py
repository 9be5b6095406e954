"""Readers between two bundles: the next bundle goes on with the consumer of the one before, whoever runs it.

A runner may begin a bundle before it has finalized the one before, as Prism does. Beam then gives it another instance
of the step, with no reader of its own:

    instance 1   bundle 1 | put            bundle 3 ...
    instance 2            | take, bundle 2 |

Opening a consumer instead takes a tenth of a second, in which messages wait, and the old one would go on fetching.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Any, Protocol


class Reader(Protocol):
    """What can be handed over."""

    offsets: dict[int, int]
    """Partition -> offset of the next message."""

    def leave(self) -> dict[str, Any]:
        """Give away the consumer and what belongs to it, as attributes for another reader."""


class Handover:
    """The readers of this process that wait for their next bundle, by what they read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, Reader] = {}

    def put(self, source: Hashable, reader: Reader) -> None:
        """The reader's bundle is over."""
        with self._lock:
            self._waiting[source] = reader

    def take(self, source: Hashable, offsets: Mapping[int, int]) -> dict[str, Any] | None:
        """What the reader leaves that has come as far as these offsets; None where none waits there."""
        with self._lock:
            reader = self._waiting.get(source)
            if reader is None or reader.offsets != offsets:
                return None
            del self._waiting[source]
            return reader.leave()

    def remove(self, source: Hashable, reader: Reader) -> None:
        """The reader goes on, or is closed: nobody else may have what is its."""
        with self._lock:
            if self._waiting.get(source) is reader:
                del self._waiting[source]


HANDOVER = Handover()
"""The one of this process."""
