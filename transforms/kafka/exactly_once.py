"""Scores messages and writes outputs, errors and offsets in transactions: each message has its effect once.

source --blocks with their offset ranges--> [ drop what is done, steps, transaction of each partition ]

Steps and sink are one DoFn: what comes of a block, its failures and its offsets meet where they are committed, and
replays are dropped before the model sees them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from transforms.apply import FAILED, CountedStep
from transforms.block import KEY, ORIGIN_FILE, ORIGIN_ROW, TIME
from transforms.errors import RowError
from transforms.kafka.blocks import parse_origin, ranges_of
from transforms.kafka.config import Topic
from transforms.kafka.errors import error_headers, error_json
from transforms.kafka.offsets import Group
from transforms.kafka.sink import encode_rows, headers_of
from transforms.kafka.transactions import AT_ONCE, OPEN, Transactions


def not_done(block: pa.RecordBatch, first: Mapping[int, int]) -> pa.RecordBatch:
    """The rows at or above the first offset that is not done of their partition."""
    origins = block.column(ORIGIN_FILE)
    partitions = [parse_origin(origin)[1] for origin in origins.dictionary.to_pylist()]
    firsts = np.array([first[partition] for partition in partitions], np.int64)
    fresh = block.column(ORIGIN_ROW).to_numpy() >= firsts[origins.indices.to_numpy()]
    return block if fresh.all() else block.filter(pa.array(fresh))


def by_partition(block: pa.RecordBatch) -> dict[int, pa.RecordBatch]:
    """The rows of each partition, in their order."""
    origins = block.column(ORIGIN_FILE)
    which = origins.indices.to_numpy()
    found: dict[int, pa.RecordBatch] = {}
    for index, origin in enumerate(origins.dictionary.to_pylist()):
        rows = np.flatnonzero(which == index)
        if len(rows):
            found[parse_origin(origin)[1]] = block if len(rows) == len(which) else block.take(pa.array(rows))
    return found


class _Transact(beam.DoFn):
    def __init__(
        self,
        steps: Sequence[CountedStep],
        group: Group,
        output: Topic,
        format: str,
        errors: Topic | None,
        seconds: float,
    ):
        self._steps, self._group, self._output, self._format = tuple(steps), group, output, format
        self._errors, self._seconds = errors, seconds
        self._bundle = object()
        self._held: dict[int, Transactions] = {}
        self._since: float | None = None
        self._replayed = Metrics.counter("beamsplit", "rows_replayed")
        self._commits = Metrics.counter("beamsplit", "transactions")

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "transactions")
        for step in self._steps:
            step.setup()

    def start_bundle(self) -> None:
        self._give_up()
        self._bundle = object()

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        try:
            failures = self._transact(block)
        except BaseException:
            self._give_up()
            raise
        if self._errors is None:
            for failure in failures:
                yield beam.pvalue.TaggedOutput(FAILED, failure)

    def finish_bundle(self) -> None:
        try:
            self._commit()
        except BaseException:
            self._give_up()
            raise

    def teardown(self) -> None:
        self._give_up()
        self._pool.shutdown()

    def _transact(self, block: pa.RecordBatch) -> list[RowError]:
        fresh = not_done(block, self._admit(ranges_of(block)))
        self._replayed.inc(block.num_rows - fresh.num_rows)
        failures: list[RowError] = []
        for step in self._steps:
            if not fresh.num_rows:
                break
            fresh, failed = step(fresh)
            failures += failed
        for partition, rows in by_partition(fresh).items() if fresh.num_rows else ():
            keys, times = rows.column(KEY).to_pylist(), rows.column(TIME).to_pylist()
            self._held[partition].send(encode_rows(self._format, rows), keys, headers_of(rows), times)
        for failure in failures if self._errors is not None else ():
            held = self._held[parse_origin(failure.file)[1]]
            held.send([error_json(failure)], [None], [error_headers(failure)], [-1], topic=self._errors)
        if self._since is not None and time.monotonic() - self._since >= self._seconds:
            self._commit()
        return failures

    def _admit(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Partition -> its first offset that is not done."""
        new = [partition for partition in ranges if partition not in self._held]
        takes = [self._pool.submit(OPEN.take, self._group, p, self._output, ranges[p][0], self._bundle) for p in new]
        wait(takes)
        for partition, taken in zip(new, takes, strict=True):
            self._held[partition] = taken.result()
        firsts = {p: self._held[p].admit(begin, end, self._bundle) for p, (begin, end) in ranges.items()}
        if self._since is None and any(end > firsts[p] for p, (_, end) in ranges.items()):
            self._since = time.monotonic()
        return firsts

    def _commit(self) -> None:
        ready = [held for held in self._held.values() if held.bundle is not None]
        commits = [self._pool.submit(held.commit) for held in ready]
        wait(commits)  # a failure is told when none of the others is still at work
        for done in commits:
            done.result()
        self._commits.inc(len(ready))
        self._held, self._since = {}, None

    def _give_up(self) -> None:
        if self._held:
            wait([self._pool.submit(OPEN.drop, held) for held in self._held.values()])
        self._held, self._since = {}, None


class ScoreInTransactions(beam.PTransform):
    """PCollection of blocks with ranges -> PCollection of RowError, those that have no topic to go to.

    Must be fused with a transactional source: a partition's blocks come in order, from one reader.

    Args:
        steps: make predictions of messages.
        group: of the source; keeps how far each partition is done.
        output: where predictions go.
        format: one of `OUTPUT_FORMATS`.
        errors: where messages go that could not be scored, in the same transaction; None gives them out.
        seconds: how long a transaction may last while its bundle does; the bundle's end commits too.
    """

    def __init__(
        self,
        steps: Sequence[CountedStep],
        group: Group,
        output: Topic,
        format: str = "json",
        errors: Topic | None = None,
        seconds: float = 0.2,
    ):
        super().__init__()
        self._dofn = _Transact(steps, group, output, format, errors, seconds)

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        made = blocks | beam.ParDo(self._dofn).with_output_types(bytes).with_outputs(FAILED, main="none")
        made[FAILED].element_type = RowError
        return made[FAILED]
