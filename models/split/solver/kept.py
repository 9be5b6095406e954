"""What direct links save: bytes that a stage between two places neither reads nor makes.

Through the chain a stage from place i to place j moves crossing[i] + crossing[j]. Directly, of the values that cross i
those stay away that no unit between reads, and of those that cross j those that were made before i:

    in + out = crossing[i] + crossing[j] - kept[i, j]
    kept[i, j] = bytes that cross both + bytes that cross both, with as many consumers done at i as at j

A value of one consumer counts in both terms or in none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beamsplit.models.split.solver.problem import Bools, Floats, Ints, Problem, Value


def kept_along(problem: Problem, place: Ints) -> Floats:
    """Bytes kept [places + 1, places + 1] along an order; `place` is the position of each unit in it."""
    places = len(place)
    steps = np.zeros((places + 2, places + 2))

    def add(first: int, last: int, nbytes: float) -> None:
        # To every stage that begins at `first` or later and ends at `last` or earlier.
        if first < last:
            steps[first, 0] += nbytes
            steps[first, last + 1] -= nbytes

    for value in _moving(problem):
        made = 0 if value.producer < 0 else int(place[value.producer]) + 1
        uses = sorted({int(place[user]) for user in value.consumers})
        add(made, places if value.is_output else uses[-1], value.nbytes)
        # Between two uses it lies still; an output does so behind the last.
        for begin, end in zip([made, *(use + 1 for use in uses)], [*uses, places], strict=True):
            if end < places or value.is_output:
                add(begin, end, value.nbytes)
    found: Floats = np.cumsum(np.cumsum(steps, axis=0), axis=1)[: places + 1, : places + 1]
    return found


def _moving(problem: Problem) -> Iterator[Value]:
    return (value for value in problem.values if value.consumers or value.is_output)


@dataclass(frozen=True)
class KeptOfIdeals:
    """The same for down-sets of a graph: a column a value, and one for each number of its consumers that are done."""

    columns: Bools
    """Whether a value crosses the ideal in that state; [ideals, columns]."""

    nbytes: Floats
    """[columns]."""

    def between(self, starts: Ints, ends: Ints) -> Floats:
        """Bytes kept by the stages between; [starts, ends]. The first of each pair lies inside the second."""
        used = np.flatnonzero(self.columns[ends].any(axis=0))
        behind = self.columns[np.ix_(ends, used)] * self.nbytes[used]
        found: Floats = self.columns[np.ix_(starts, used)].astype(np.float64) @ behind.T
        return found


def kept_of_ideals(problem: Problem, members: Bools) -> KeptOfIdeals:
    """For ideals given as [ideals, units]."""
    columns, sizes = [], []
    for value in _moving(problem):
        made = members[:, value.producer] if value.producer >= 0 else np.ones(len(members), dtype=np.bool_)
        users = sorted(set(value.consumers))
        done = members[:, users].sum(axis=1)
        crosses = made & ((done < len(users)) | value.is_output)
        columns.append(crosses)
        sizes.append(value.nbytes * (2 if len(users) + value.is_output == 1 else 1))
        if len(users) + value.is_output > 1:
            for count in range(len(users) + value.is_output):
                columns.append(crosses & (done == count))
                sizes.append(value.nbytes)
    empty = np.zeros((len(members), 0), dtype=np.bool_)
    return KeptOfIdeals(np.stack(columns, axis=1) if columns else empty, np.array(sizes, dtype=np.float64))
