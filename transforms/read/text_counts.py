"""How many rows text has: by its beginning, or counted as far as is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.streams import open_stream

HEAD_BYTES = 1 << 18
"""By which the rows of a file are judged."""


def enough(counts: Iterable[int], most: int | None) -> int:
    """The sum of the counts; none is asked for once it is `most`.

    >>> enough(iter([3, 4, 5]), 6)
    7
    """
    total = 0
    for count in counts:
        total += count
        if most is not None and total >= most:
            break
    return total


def judged(file: InputFile, start: int, count: Callable[[bytes], int]) -> float:
    """About how many rows a file has from byte `start` on, if it goes on so; `count` counts the rows of a text."""
    with open_stream(file.path) as stream:
        stream.seek(start)
        head = stream.read(HEAD_BYTES)
    return count(head) * (file.size - start) / max(len(head), 1)
