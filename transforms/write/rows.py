"""Where rows end in the text files that this package writes: `\n`, and every string of CSV in quotes."""

from __future__ import annotations

import numpy as np

_LF, _QUOTE = 10, 34


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
