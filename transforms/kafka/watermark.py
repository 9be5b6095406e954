"""How far event time has come in each partition, and over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class PartitionClock:
    """The event time of one partition."""

    time_ms: int | None = None
    """The latest time seen; None before the first message."""

    heard: float = 0.0
    """When its last message came, in the seconds of the caller's clock."""


@dataclass
class Watermarks:
    """A lower bound on the times of messages to come: the least over the partitions that are not idle.

    A partition is idle when it has been read to its end and nothing came for a while; without that, one silent
    partition would hold back the watermark of all. Messages of a partition are taken to come in the order of their
    times; one that is late comes all the same, with its own time.
    """

    idle_seconds: float
    clocks: dict[int, PartitionClock] = field(default_factory=dict)

    def add(self, partition: int, now: float) -> None:
        """Begin to watch a partition."""
        self.clocks.setdefault(partition, PartitionClock(None, now))

    def saw(self, partitions: np.ndarray, times_ms: np.ndarray, now: float) -> None:
        """Take in messages, each with its partition and time; a time of -1 is none."""
        for partition in np.unique(partitions).tolist():
            clock = self.clocks.setdefault(partition, PartitionClock())
            clock.heard = now
            latest = int(times_ms[partitions == partition].max())
            if latest >= 0:
                clock.time_ms = max(latest, clock.time_ms or 0)

    def value(self, now: float, behind: frozenset[int] = frozenset()) -> int | None:
        """The watermark in milliseconds since 1970; None where nothing can be said.

        Args:
            now: on the caller's clock.
            behind: partitions with messages yet to read, which are not idle however long they are silent.
        """
        active = [
            clock
            for partition, clock in self.clocks.items()
            if partition in behind or now - clock.heard < self.idle_seconds
        ]
        times = [clock.time_ms for clock in active]
        if not active:
            # All are silent: what came last is as far as time has come.
            known = [clock.time_ms for clock in self.clocks.values() if clock.time_ms is not None]
            return max(known) if known else None
        return None if None in times else min(time for time in times if time is not None)
