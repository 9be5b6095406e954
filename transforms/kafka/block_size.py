"""How many messages a block takes: as many as pay, and no more than are done in time."""

from __future__ import annotations

from dataclasses import dataclass, field

GAIN = 1.05
"""A larger block must do this many times the messages a second to be kept."""

WASTE = 1.33
"""A block beyond the bound is not halved where it does this many times the messages a second of one half as large: that
one takes more than two thirds of its time, so that nobody would wait much less."""

FIRST = 256
"""Messages in the first blocks, where nothing is known."""

MOST = 16_384
"""No block has more."""

MOST_BYTES = 32 << 20
"""No block has many more bytes, by the size of the messages before it."""

_BLEND = 0.3
"""Weight of the newest measurement: what else the machine does comes and goes."""

_MEMORY = 50
"""Full blocks after which a size that was not used is as good as never tried."""


@dataclass
class BlockSize:
    """Doubles the block while that does more messages a second within the latency bound; halves it beyond the bound.

    Only full blocks tell: one that is not full was all there was.

        size      256 -> 512 -> 1024 -> 2048 -> 1024 ...
        rate       40k    70k    95k     96k             2048 brings too little: stay at 1024

    Where even small blocks take longer than the bound, as on a machine that others use too, smaller ones help nobody:

        size      256 -> 128 -> 256 ...
        seconds    30     27      30    at a bound of 20 ms: 128 does little more than half the messages a second
    """

    bound_seconds: float
    """How long the steps after the source may take for a block."""

    size: int = FIRST
    fixed: bool = False
    """Whether the size was given and stays."""

    rates: dict[int, float] = field(default_factory=dict)
    """Messages a second at each size that was tried lately."""

    row_bytes: float = 0.0

    _blocks: int = 0
    _used: dict[int, int] = field(default_factory=dict)

    def observe(self, rows: int, seconds: float, nbytes: int) -> None:
        """Take in how long the steps took for a block of `rows` messages, `nbytes` large."""
        if not rows:
            return
        self.row_bytes = nbytes / rows
        if self.fixed or rows < self.size:
            return
        self._blocks += 1
        if self._blocks == 1:
            # It pays for all that is made on first use.
            return
        rate = rows / max(seconds, 1e-9)
        before = self.rates.get(rows)
        self.rates[rows] = rate if before is None else (1 - _BLEND) * before + _BLEND * rate
        self._forget(rows)
        if seconds > self.bound_seconds:
            self._hurry(rows)
        elif self._worth_more(rows, seconds):
            self.size = min(MOST, self.size * 2)

    def _forget(self, rows: int) -> None:
        self._used[rows] = self._blocks
        for size, block in list(self._used.items()):
            if self._blocks - block > _MEMORY:
                del self._used[size], self.rates[size]

    def _hurry(self, rows: int) -> None:
        """Beyond the bound: half of it, unless that brings next to nothing."""
        larger, smaller = self.rates.get(rows * 2, 0.0), self.rates.get(rows // 2, self.rates[rows])
        if larger > WASTE * self.rates[rows]:
            self.size = min(MOST, self.size * 2)
        elif self.rates[rows] < WASTE * smaller:
            self.size = max(1, self.size // 2)

    def _worth_more(self, rows: int, seconds: float) -> bool:
        larger, smaller = self.rates.get(rows * 2), self.rates.get(rows // 2)
        if 2 * seconds > self.bound_seconds * 1.5:
            return False
        if larger is not None:
            return larger > GAIN * self.rates[rows] and 2 * rows / larger <= self.bound_seconds
        return smaller is None or self.rates[rows] > GAIN * smaller

    @property
    def rows(self) -> int:
        """How many messages the next block may take."""
        if not self.row_bytes:
            return min(self.size, FIRST)
        return max(1, min(self.size, int(MOST_BYTES / self.row_bytes)))
