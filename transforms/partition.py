"""Data parallelism: which worker gets which rows.

Three strategies. `random` deals single rows, `contiguous` and `proportional` deal ranges of the input's order:

    rows        0 1 2 3 4 5 6 7 8 9
    contiguous  0 0 0 1 1 1 2 2 2 2        equal ranges, order kept
    proportional, capacities 1,1,3
                0 0 1 1 2 2 2 2 2 2        ranges as long as a worker is fast
    random      2 0 1 1 2 0 0 2 1 0        seeded and uniform, the same on every machine
"""

from __future__ import annotations

import heapq
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.read import assign_splits, count_rows, slice_split
from beamsplit.transforms.read.splits import contiguous_bounds
from beamsplit.transforms.split import Split

STRATEGIES = ("random", "contiguous", "proportional")


def proportional_bounds(rows: int, capacities: Sequence[float]) -> list[int]:
    """Ranges as long as each worker is fast, so that the slowest is done as early as whole rows allow.

    `capacities` are relative speeds (rows a second, or any unit), each above 0. The ranges add up to `rows` and
    minimise the largest of rows/capacity: every worker gets the whole part of its share, and each row left over
    goes where it would be finished first (the divisor method of D'Hondt; see Balinski and Young, "Fair
    Representation", chapter 11: it never gives less than the whole part).
    """
    if not capacities or any(not np.isfinite(c) or c <= 0 for c in capacities):
        raise ValueError(f"capacities {list(capacities)} must be numbers above 0")
    total = sum(capacities)
    shares = [int(rows * capacity / total) for capacity in capacities]
    finish = [((share + 1) / capacity, k) for k, (share, capacity) in enumerate(zip(shares, capacities, strict=True))]
    heapq.heapify(finish)
    for _ in range(rows - sum(shares)):
        _, k = finish[0]
        shares[k] += 1
        heapq.heapreplace(finish, ((shares[k] + 1) / capacities[k], k))
    return [0, *itertools.accumulate(shares)]


def random_workers(block: pa.RecordBatch, workers: int, seed: int) -> np.ndarray:
    """A worker for each row, int64 of shape [rows], uniform over 0 to `workers` - 1.

    It depends on the seed and the row's origin alone, so a retry, another block size or another machine deals the
    same row to the same worker. The mixing is splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    files = block.column(ORIGIN_FILE)
    salts = np.array([zlib.crc32(file.encode()) for file in files.dictionary.to_pylist()], dtype=np.uint64)
    salt = salts[files.indices.to_numpy()] if len(salts) else np.zeros(0, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = block.column(ORIGIN_ROW).to_numpy().astype(np.uint64)
        z = z + (salt << np.uint64(32)) + np.uint64(seed & (2**64 - 1)) * np.uint64(0xD1342543DE82EF95)
        z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        return (((z >> np.uint64(32)) * np.uint64(workers)) >> np.uint64(32)).astype(np.int64)


def split_random(block: pa.RecordBatch, workers: int, seed: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a block into one block for each worker that has rows in it; rows keep their order."""
    assigned = random_workers(block, workers, seed)
    order = np.argsort(assigned, kind="stable")
    ends = np.cumsum(np.bincount(assigned, minlength=workers))
    for worker, (start, stop) in enumerate(itertools.pairwise([0, *ends.tolist()])):
        if stop > start:
            yield worker, block.take(pa.array(order[start:stop]))


def bounds_for(strategy: str, rows: int, workers: int, capacities: Sequence[float] | None) -> list[int]:
    """The bounds of `contiguous` or `proportional` for a number of rows."""
    if strategy == "contiguous":
        return contiguous_bounds(rows, workers)
    if strategy == "proportional":
        return proportional_bounds(rows, capacities or [1.0] * workers)
    raise ValueError(f"{strategy!r} deals no ranges; strategies are {', '.join(STRATEGIES)}")


class _CountRows(beam.DoFn):
    """Puts the number of rows into a split that does not know it."""

    def process(self, split: Split) -> Iterator[Split]:
        yield slice_split(split, 0, count_rows(split))


class _AssignSplits(beam.DoFn):
    def __init__(self, strategy: str, workers: int, capacities: Sequence[float] | None):
        self._strategy, self._workers, self._capacities = strategy, workers, capacities

    def process(self, _: None, splits: list[Split], measured: Any = None) -> Iterator[tuple[int, Split]]:
        rows = sum(count_rows(split) for split in splits)
        capacities = [capacity for _, capacity in sorted(measured)] if measured else self._capacities
        yield from assign_splits(splits, bounds_for(self._strategy, rows, self._workers, capacities))


class _WorkOfOne(beam.DoFn):
    """Unpacks what one worker got, in order, and counts its rows."""

    def process(self, keyed: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        worker, work = keyed
        counter = Metrics.counter("beamsplit", f"rows_of_worker_{worker}")
        for item in work:
            counter.inc(item.num_rows if isinstance(item, pa.RecordBatch) else count_rows(item))
            yield item


class _SplitsOfOne(_WorkOfOne):
    """The same for splits: few and small, so they are put in the input's order first."""

    def process(self, keyed: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        worker, splits = keyed
        yield from super().process((worker, sorted(splits, key=lambda split: (split.order, split.row_start))))


class PartitionSplits(beam.PTransform):
    """`contiguous` and `proportional`: PCollection of Split -> PCollection of Split, one worker's in one bundle.

    Only descriptions of work move between workers, never rows. Rows are counted first where the format does not
    say how many there are (csv, jsonl). `measured` is a PCollection of (worker, rows a second) that replaces
    `capacities`.
    """

    def __init__(
        self,
        strategy: str,
        workers: int,
        capacities: Sequence[float] | None = None,
        measured: PCollection | None = None,
    ):
        super().__init__()
        self._strategy, self._workers = strategy, workers
        self._capacities, self._measured = capacities, measured
        bounds_for(strategy, 0, workers, capacities)

    def expand(self, splits: PCollection) -> PCollection:
        """Wire: count, gather, assign, group by worker."""
        counted = splits | "Count rows" >> beam.ParDo(_CountRows())
        sides = [beam.pvalue.AsList(counted)]
        if self._measured is not None:
            sides.append(beam.pvalue.AsList(self._measured))
        return (
            splits.pipeline
            | "Once" >> beam.Create([None])
            | "Assign" >> beam.ParDo(_AssignSplits(self._strategy, self._workers, self._capacities), *sides)
            | "By worker" >> beam.GroupByKey()
            | "In order" >> beam.ParDo(_SplitsOfOne()).with_output_types(Split)
        )


class _SplitRandom(beam.DoFn):
    def __init__(self, workers: int, seed: int):
        self._workers, self._seed = workers, seed

    def process(self, block: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        yield from split_random(block, self._workers, self._seed)


class PartitionRows(beam.PTransform):
    """`random`: PCollection of blocks -> PCollection of blocks, each worker's in one bundle.

    The rows themselves move (as Arrow IPC), which the in-process runner does through memory: about the size of
    the columns read. Workers that are to share one input evenly need no partition at all.
    """

    def __init__(self, workers: int, seed: int = 0):
        super().__init__()
        self._workers, self._seed = workers, seed

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: deal rows, group by worker."""
        return (
            blocks
            | "Deal rows"
            >> beam.ParDo(_SplitRandom(self._workers, self._seed)).with_output_types(tuple[int, pa.RecordBatch])
            | "By worker" >> beam.GroupByKey()
            | "In order" >> beam.ParDo(_WorkOfOne()).with_output_types(pa.RecordBatch)
        )
