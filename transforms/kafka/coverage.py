"""Which offsets a checkpoint of Flink covers where other workers make the outputs than read the messages.

Flink keeps checkpoint 1 once every step has done what came before its barrier, and then finalizes every bundle that is
over: also those that the reader ended behind the barrier, whose messages are still on their way to the sink.

    reader   --a--| barrier 1 |--b--        --c--| barrier 2 |--d--        --e--
    Flink                           1 kept:                        2 kept:
                                    a, b finalized                 c, d finalized
    committed                                                      a, b

What was finalized with one checkpoint was read before the barrier of the next, which begins after it, so the next one's
finalization says that its outputs are there. Where one worker reads, scores and writes, the end of a bundle says so.
Source: Beam's ExecutableStageDoFnOperator.notifyCheckpointComplete, which finalizes all outstanding bundles.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Coverage:
    """How far the outputs of one reader are there.

    Args:
        offsets: partition -> offset of the next message, where the reader begins.
    """

    def __init__(self, offsets: Mapping[int, int]):
        self.offsets = dict(offsets)
        """Outputs of all messages below are there."""

        self._lock = threading.Lock()
        self._round = 0
        self._ends: dict[int, dict[int, int]] = {}

    def ended(self, offsets: Mapping[int, int]) -> int:
        """A bundle is over that ends at these offsets; gives the round that it belongs to."""
        with self._lock:
            self._ends[self._round] = dict(offsets)
            return self._round

    def finalized(self, round: int) -> dict[int, int] | None:
        """A bundle of this round is finalized; gives the offsets that are covered since, None where none are.

        >>> coverage = Coverage({0: 0})
        >>> a, b = coverage.ended({0: 10}), coverage.ended({0: 20})
        >>> coverage.finalized(a), coverage.finalized(b)
        (None, None)
        >>> c, d = coverage.ended({0: 30}), coverage.ended({0: 40})
        >>> coverage.finalized(c), coverage.finalized(d)
        ({0: 20}, None)
        """
        with self._lock:
            if round != self._round:
                return None
            self._round += 1
            covered = self._ends.pop(round - 1, None)
            if covered is None or covered == self.offsets:
                return None
            self.offsets = covered
            return covered
