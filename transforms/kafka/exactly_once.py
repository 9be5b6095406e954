"""Scores messages and writes outputs, errors and offsets in transactions: each message has its effect once.

source --blocks with their offset ranges--> [ drop what is done, steps, transaction of each partition ]

Steps and sink are one DoFn: what comes of a block, its failures and its offsets meet where they are committed, and
replays are dropped before the model sees them. Where the model's parts have workers of their own, see
`ordered_transactions.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beamsplit.transforms.apply import FAILED, CountedStep
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import ranges_of
from beamsplit.transforms.kafka.gaps import gaps_of
from beamsplit.transforms.kafka.transact import TransactDoFn, Transacted, by_partition, not_done


class _ScoreAndTransact(TransactDoFn):
    """While the transactions of some blocks are committed, the blocks after them are scored and wait."""

    def __init__(self, steps: Sequence[CountedStep], transacted: Transacted, job_dir: str | None):
        super().__init__(transacted, job_dir)
        self._steps = tuple(steps)

    def setup(self) -> None:
        super().setup()
        for step in self._steps:
            step.setup()

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        yield from self.work(lambda: self._score(block))

    def _score(self, block: pa.RecordBatch) -> list[RowError]:
        """Score what is not done of a block; its outputs wait."""
        ranges = ranges_of(block)
        firsts = self._admit(ranges)
        fresh = not_done(block, firsts)
        self._replayed.inc(block.num_rows - fresh.num_rows)
        ends = {p: end for p, (_, end) in ranges.items() if end > firsts[p]}
        gaps = [gap for gap in gaps_of(block) if gap.partition in ends and self.is_new(gap, firsts)]
        failures = self._tell_gaps(gaps)
        for step in self._steps:
            if not fresh.num_rows:
                break
            fresh, failed = step(fresh)
            failures += failed
        return self.keep(ends, list(by_partition(fresh).items()) if fresh.num_rows else [], failures)

    def _admit(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Partition -> its first offset that is not done."""
        self.hold({partition: begin for partition, (begin, _) in ranges.items() if partition not in self._held})
        return {p: self._held[p].admit(begin, end) for p, (begin, end) in ranges.items()}


class ScoreInTransactions(beam.PTransform):
    """PCollection of blocks with ranges -> PCollection of RowError, those that have no topic to go to.

    Must be fused with a transactional source: a partition's blocks come in order, from one reader.

    Args:
        steps: make predictions of messages.
        transacted: what is committed together.
        job_dir: folder that local workers share; None on a cluster.
    """

    def __init__(
        self,
        steps: Sequence[CountedStep],
        transacted: Transacted,
        job_dir: str | None = None,
    ):
        super().__init__()
        self._dofn = _ScoreAndTransact(steps, transacted, job_dir)

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        made = blocks | beam.ParDo(self._dofn).with_output_types(bytes).with_outputs(FAILED, main="none")
        made[FAILED].element_type = RowError
        return made[FAILED]
