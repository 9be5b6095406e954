"""What is kept as a whole: a few splits of the input, read, scored and written by one worker."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import files
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.splits import FILES_SPLIT_AT_ONCE, contiguous_bounds, count_rows, split_file
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.split import Split

UNITS = 64
"""How many a job has at least where its input can be cut into so many: what is lost is then 1/64 of it a worker."""

UNITS_A_WORKER = 4

LEAST_BYTES = 64 << 10
MOST_BYTES = 128 << 20
"""Of a unit where the input can be cut: each costs a few milliseconds."""

THREADS = 16
"""Files that are looked at side by side, where there are many or they are not on this machine."""


class Deal(NamedTuple):
    """One worker's rows among those of a unit, where rows are dealt at random."""

    worker: int
    workers: int
    seed: int


@dataclass(frozen=True)
class Unit:
    """Splits that lie one behind the other in the input."""

    number: int
    """Its place in the input, from 0."""

    splits: tuple[Split, ...]
    deal: Deal | None = None
    """Which of the rows; None for all."""

    @property
    def size(self) -> tuple[int | None, int]:
        """(rows, where all of its splits know theirs; bytes, about)."""
        known = all(split.rows is not None for split in self.splits)
        rows = sum(map(count_rows, self.splits)) if known else None
        return rows, sum(split.weight for split in self.splits)


def unit_bytes(inputs: Sequence[InputFile], workers: int) -> int:
    """The size that gives enough units for so many workers, within `LEAST_BYTES` and `MOST_BYTES`."""
    total = sum(file.size for file in inputs)
    return max(LEAST_BYTES, min(total // max(UNITS, UNITS_A_WORKER * workers), MOST_BYTES))


def make_units(inputs: Sequence[InputFile], format: str, size: int) -> list[Unit]:
    """The input as units of about `size` bytes, the same whenever the files are.

    Small files share a unit only where there are more than `UNITS` splits.
    """
    splits = _splits(inputs, format, size)
    if len(splits) <= UNITS:
        return [Unit(number, (split,)) for number, split in enumerate(splits)]
    groups: list[list[Split]] = []
    weight = 0
    for split in splits:
        if not groups or weight + split.weight > size:
            groups.append([])
            weight = 0
        groups[-1].append(split)
        weight += split.weight
    return [Unit(number, tuple(group)) for number, group in enumerate(groups)]


def _splits(inputs: Sequence[InputFile], format: str, size: int) -> list[Split]:
    if FORMATS[format].files:
        return files.split_list(inputs, 0, size, max(1, -(-len(inputs) // UNITS)))
    if len(inputs) <= FILES_SPLIT_AT_ONCE and all(is_local(file.path) for file in inputs):
        return [split for at, file in enumerate(inputs) for split in split_file(file, at, format, size)]
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map(lambda numbered: split_file(numbered[1], numbered[0], format, size), enumerate(inputs))
        return [split for found in each for split in found]


def at_random(units: Sequence[Unit], workers: int, seed: int) -> list[Unit]:
    """Each unit once for each worker, which takes its own rows of it: as many reads as there are workers.

    >>> [(unit.number, unit.deal.worker) for unit in at_random([Unit(0, ()), Unit(1, ())], 2, 7)]
    [(0, 0), (1, 1), (2, 0), (3, 1)]
    """
    return [
        Unit(unit.number * workers + worker, unit.splits, Deal(worker, workers, seed))
        for unit in units
        for worker in range(workers)
    ]


def deal_units(units: Sequence[Unit], workers: int, bounds: Sequence[int] | None = None) -> list[list[Unit]]:
    """Each worker's units: one range of the input, whole units, as near to the bounds as these allow.

    Args:
        units: in the order of the input.
        workers: how many.
        bounds: worker k gets what lies between `bounds[k]` and `bounds[k + 1]`, in `total_size`; None for equal ranges.
    """
    dealt: list[list[Unit]] = [[] for _ in range(workers)]
    if units and units[0].deal is not None:
        for unit in units:
            dealt[unit.deal.worker % workers if unit.deal else 0].append(unit)
        return dealt
    sizes = _sizes(units)
    bounds = bounds or contiguous_bounds(sum(sizes), workers)
    for unit, first, size in zip(units, itertools.accumulate(sizes, initial=0), sizes, strict=False):
        worker = bisect.bisect_right(bounds, first + (size - 1) // 2) - 1
        dealt[min(worker, workers - 1)].append(unit)
    return dealt


def total_size(units: Sequence[Unit]) -> int:
    """Rows of all units, or bytes where not all know their rows."""
    return sum(_sizes(units))


def _sizes(units: Sequence[Unit]) -> list[int]:
    sizes = [unit.size for unit in units]
    rows = [rows for rows, _ in sizes if rows is not None]
    return [max(1, size) for size in (rows if len(rows) == len(sizes) else [weight for _, weight in sizes])]
