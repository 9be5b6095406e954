"""Messages that no stream can turn into an output: whoever sends one among many wants it told, and the rest scored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

INPUT_SETTINGS = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
"""Of a topic of inputs that takes all kinds, and keeps them."""

OUTPUT_SETTINGS = {"max.message.bytes": "20000", "message.timestamp.after.max.ms": "600000"}
"""Of a topic of outputs that refuses two of the kinds."""

KINDS = ("short", "large", "late")
"""Of poison, in turn: half a tensor; a key that makes the output larger than the topic takes; a time that is two hours
away, which it refuses."""

LARGE_BYTES, LATE_MS = 40_000, 2 * 3600 * 1000

GOOD = np.arange(4, dtype=np.float32).tobytes()
"""The value of a message that can be scored."""


@dataclass(frozen=True)
class Message:
    """What a producer is given."""

    value: bytes = GOOD
    key: bytes | None = None
    timestamp: int = 0
    """Milliseconds; 0 is now."""


def is_poison(number: Any, every: int) -> Any:
    """Whether the message of this number, or of each of an array, is poison: one of each `every`, 0 for none.

    They go to all partitions, where messages go to these in turn.

    >>> is_poison(np.arange(12), 4).nonzero()[0].tolist()
    [2, 7, 8]
    """
    return number % every == (number // every + every // 2) % every if every else number < 0


def message(number: int, every: int) -> Message:
    """The message of this number.

    >>> message(0, 4).value == GOOD, message(2, 4).value == GOOD, len(message(7, 4).key)
    (True, False, 40000)
    """
    if not is_poison(number, every):
        return Message()
    kind = KINDS[number // every % len(KINDS)]
    if kind == "short":
        return Message(GOOD[: len(GOOD) // 2])
    if kind == "large":
        return Message(key=b"k" * LARGE_BYTES)
    return Message(timestamp=int(time.time() * 1000) + LATE_MS)
