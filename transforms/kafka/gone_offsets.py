"""Offsets whose messages are gone, as gaps. No Beam."""

from __future__ import annotations

import numpy as np

from beamsplit.transforms.kafka.gaps import Gap


def gaps_between(topic: str, partition: int, offsets: np.ndarray, end: int) -> list[Gap]:
    """A gap for each run of offsets that follow one another.

    Args:
        topic: its name.
        partition: of the topic.
        offsets: int64, ascending, of messages that cannot be read any more.
        end: of the log.

    >>> [(gap.begin, gap.next) for gap in gaps_between("in", 0, np.array([3, 4, 9]), 20)]
    [(3, 5), (9, 10)]
    """
    runs = np.split(offsets, np.flatnonzero(np.diff(offsets) != 1) + 1) if len(offsets) else []
    return [Gap(topic, partition, int(run[0]), int(run[-1]) + 1, end) for run in runs]
