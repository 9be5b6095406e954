"""Files whose rows have to be looked for: large ones are cut between rows."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.transforms.split import Split


def splits_between(format: str, path: str, number: int, places: Sequence[int], target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes` of the `number`-th file of the input.

    Args:
        format: a name of `FORMATS`.
        path: of the file.
        number: as said.
        places: the byte at which each row begins, and that at which the last one ends.
        target_bytes: as said.

    >>> [(s.start, s.stop, s.first_row, s.rows) for s in splits_between("x", "a", 0, [0, 10, 40, 45, 60], 20)]
    [(0, 10, 0, 1), (10, 40, 1, 1), (40, 60, 2, 2)]
    """
    splits: list[Split] = []
    first = 0
    for at in range(1, len(places)):
        if at == len(places) - 1 or places[at + 1] - places[first] > target_bytes:
            where, weight = (number, len(splits)), places[at] - places[first]
            splits.append(Split(format, (path,), where, places[first], places[at], first, at - first, weight))
            first = at
    return splits
