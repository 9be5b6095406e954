"""Which offsets a checkpoint of Flink covers where other workers make the outputs than read the messages.

Flink keeps checkpoint 1 once every step has done what came before its barrier, and then finalizes every bundle that is
over: also those that the reader ended behind the barrier, whose messages are still on their way to the sink. Word of it
comes to the reader any time later, perhaps behind the next barrier, and more bundles are over by then:

    reader   --a--| barrier 1 |--b--      --c--      --d--| barrier 2 |--e--        --f--
    Flink                           1 kept                                 2 kept
    told                                  a, b              finalized              c, d, e
    it noted                                         b
    committed                                                                      b

So a bundle notes, when it ends, which ones were told to be finalized. It is finalized with a later checkpoint than
those, whose barrier was behind all of them: what it noted is there. Where one worker reads, scores and writes, the end
of a bundle says so.
Source: Beam's ExecutableStageDoFnOperator.notifyCheckpointComplete, which finalizes all outstanding bundles, and does
not wait until the workers have heard of it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple


class BundleEnd(NamedTuple):
    """Where a reader's bundle is over."""

    number: int
    """Which of the reader's bundles it is."""

    offsets: dict[int, int]
    """Partition -> offset of the next message."""

    noted: BundleEnd | None
    """The last bundle that was told to be finalized by then."""


class Coverage:
    """How far the outputs of one reader are there.

    Args:
        offsets: partition -> offset of the next message, where the reader begins.
    """

    def __init__(self, offsets: Mapping[int, int]):
        self.offsets = dict(offsets)
        """Outputs of all messages below are there."""

        self._lock = threading.Lock()
        self._count = self._covered = 0
        self._finalized: BundleEnd | None = None

    def ended(self, offsets: Mapping[int, int]) -> BundleEnd:
        """A bundle is over that ends at these offsets."""
        with self._lock:
            self._count += 1
            return BundleEnd(self._count, dict(offsets), self._finalized and self._finalized._replace(noted=None))

    def finalized(self, end: BundleEnd) -> dict[int, int] | None:
        """A bundle is told to be finalized; gives the offsets that are covered since, None where none are.

        >>> coverage = Coverage({0: 0})
        >>> a, b = coverage.ended({0: 10}), coverage.ended({0: 20})
        >>> coverage.finalized(a), coverage.finalized(b)
        (None, None)
        >>> c, d = coverage.ended({0: 30}), coverage.ended({0: 40})
        >>> coverage.finalized(c), coverage.finalized(d)
        ({0: 20}, None)
        """
        with self._lock:
            if self._finalized is None or self._finalized.number < end.number:
                self._finalized = end
            noted = end.noted
            if noted is None or noted.number <= self._covered:
                return None
            self._covered = noted.number
            if noted.offsets == self.offsets:
                return None
            self.offsets = noted.offsets
            return noted.offsets
