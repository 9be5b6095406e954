"""Ranges of a topic that hold the messages which are wanted, and few others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from beamsplit.transforms.kafka.ranges import OffsetRange

NEAR = 1_000
"""Messages between two that are wanted which are read too: seeking takes a request."""

MOST_WANTED = 10_000
"""Of one range, so that there is work for several workers."""


def wanted_ranges(wanted: Mapping[int, bytes]) -> Iterator[OffsetRange]:
    """The ranges, partition after partition.

    Args:
        wanted: partition -> offsets, int64, ascending, each once.

    >>> found = wanted_ranges({0: np.array([3, 5, 9_000]).tobytes()})
    >>> [(one.begin, one.end) for one in found]
    [(3, 6), (9000, 9001)]
    """
    for partition, packed in sorted(wanted.items()):
        offsets = np.frombuffer(packed, np.int64)
        far = np.flatnonzero(np.diff(offsets) > NEAR) + 1
        for run in np.split(offsets, far):
            for begin in range(0, len(run), MOST_WANTED):
                some = run[begin : begin + MOST_WANTED]
                yield OffsetRange(partition, int(some[0]), int(some[-1]) + 1, some.tobytes())
