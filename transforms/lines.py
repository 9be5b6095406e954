"""Counting rows in files of lines: CSV with quoted line feeds, and JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

CHUNK = 4 << 20
_LF, _CR, _QUOTE = 10, 13, 34


def line_ends(data: bytes, inside: bool, quotes: bool) -> tuple[np.ndarray, bool]:
    """Positions of the line feeds that end a row, and whether a quoted value is open after `data`.

    A line feed ends a row where the number of quotes before it is even (a quote inside a quoted value is doubled,
    which leaves the parity as it is).

    Args:
        data: Any piece of the file.
        inside: Whether a quoted value is open before `data`.
        quotes: Whether quotes mean anything (CSV); otherwise every line feed ends a row.
    """
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values == _LF)
    if not quotes:
        return ends, False
    marks = np.flatnonzero(values == _QUOTE)
    even = (np.searchsorted(marks, ends) + inside) % 2 == 0
    return ends[even], bool((len(marks) + inside) % 2)


def rows_before(file: BinaryIO, offsets: Sequence[int], quotes: bool) -> list[int]:
    """How many rows begin before each byte of `offsets` (ascending); a header counts like a row.

    Empty lines are no rows, as for the readers. The file is read once, from its start, `CHUNK` bytes at a time.
    """
    counts: list[int] = []
    at = rows = open_bytes = 0
    inside, last = False, 0
    for offset in offsets:
        while at < offset:
            data = file.read(min(CHUNK, offset - at))
            if not data:
                break
            at += len(data)
            ends, inside = line_ends(data, inside, quotes)
            values = np.frombuffer(data, np.uint8)
            if len(ends):
                lengths = np.diff(ends, prepend=-1 - open_bytes) - 1
                before = values[ends - 1]
                if ends[0] == 0:
                    before[0] = last
                rows += int(np.count_nonzero((lengths > 1) | ((lengths == 1) & (before != _CR))))
                open_bytes = len(data) - 1 - int(ends[-1])
            else:
                open_bytes += len(data)
            last = int(values[-1])
        begun = open_bytes > 1 or (open_bytes == 1 and last != _CR)
        counts.append(rows + begun)
    return counts
