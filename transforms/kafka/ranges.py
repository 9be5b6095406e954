"""Reads a topic up to its end: ranges of offsets, each by one worker, as splits of files are.

Range:     of one partition, fixed before the job starts, so that a retry reads the same messages
Element:   a block of messages (`blocks.RAW_SCHEMA`)
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PBegin, PCollection

from beamsplit.transforms import block_coder as _block_coder  # registers the coder of blocks  # noqa: F401
from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.clients import ClientErrors, make_consumer, partitions_of, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.gaps import Gap, GapFoundError, check_gaps, find_gap, no_messages, with_gaps
from beamsplit.transforms.kafka.gone_offsets import gaps_between
from beamsplit.transforms.kafka.offsets import end_offsets, first_offsets

LEAST_MESSAGES = 10_000
"""Shorter ranges are not worth the seeking."""

FIRST_ROWS, MOST_ROWS, BLOCK_BYTES = 256, 16_384, 8 << 20
"""Messages of the first block, most of any, and about how many bytes of them."""

PATIENCE_SECONDS = 120.0
"""How long a broker may be silent in mid-range."""

ASK_SECONDS = 5.0
"""How long before it is asked whether the topic is still there."""


@dataclass(frozen=True)
class OffsetRange:
    """Messages of one partition."""

    partition: int

    begin: int
    """Offset of the first."""

    end: int
    """One past the last; offsets between may be missing, in compacted topics and where transactions ended."""

    only: bytes | None = None
    """Offsets of the messages that are wanted, int64 and ascending; None for all."""


def cut_ranges(spans: Mapping[int, tuple[int, int]], pieces: int) -> list[OffsetRange]:
    """About so many ranges of about equal length, partition after partition.

    >>> found = cut_ranges({0: (5, 20_005), 1: (0, 10_000), 2: (7, 7)}, 3)
    >>> [(one.partition, one.begin, one.end) for one in found]
    [(0, 5, 10005), (0, 10005, 20005), (1, 0, 10000)]
    """
    total = sum(end - begin for begin, end in spans.values())
    length = max(LEAST_MESSAGES, -(-total // pieces))
    ranges = []
    for partition, (begin, end) in sorted(spans.items()):
        count = -(-(end - begin) // length)
        bounds = [begin + (end - begin) * k // max(1, count) for k in range(count + 1)]
        ranges += [OffsetRange(partition, low, high) for low, high in itertools.pairwise(bounds)]
    return ranges


def deal(ranges: Sequence[OffsetRange], workers: int) -> list[OffsetRange]:
    """Order ranges so that workers who are dealt them in turn each get neighbours.

    >>> [one.partition for one in deal([OffsetRange(p, 0, 1) for p in range(5)], 2)]
    [0, 3, 1, 4, 2]
    """
    ends = [-(-len(ranges) * k // workers) for k in range(workers + 1)]
    turns = itertools.zip_longest(*(ranges[low:high] for low, high in itertools.pairwise(ends)))
    return [one for turn in turns for one in turn if one is not None]


def find_spans(
    config: ClientConfig, topic: Topic, partitions: Sequence[int], group: str | None, start: str | int
) -> tuple[dict[int, tuple[int, int]], list[Gap]]:
    """Of each partition the offset to begin at, and that of the message that will come next; and what is gone.

    Args:
        config: how to get in.
        topic: to read.
        partitions: its partitions.
        group: begins where this group's commits end; None begins at `start`.
        start: see `offsets.first_offsets`.

    Raises:
        KafkaException: the broker does not answer, or refuses.
    """
    consumer = make_consumer(config, group_id=group or "beamsplit-ranges", allow_auto_create_topics=False)
    try:
        first = first_offsets(consumer, topic.name, partitions, {}, start)
        spans, gaps = {}, []
        for partition in partitions:
            log = end_offsets(consumer, topic.name, partition)
            gap = find_gap(topic.name, partition, first[partition], log)
            spans[partition] = (first[partition] if gap is None else gap.next, log[1])
            gaps += [] if gap is None else [gap]
        return spans, gaps
    finally:
        consumer.close()


def open_ranges(config: ClientConfig, errors: ClientErrors) -> Any:
    """A consumer for `read_range`: messages that are gone by now are an error, and not passed over."""
    return make_consumer(
        config,
        errors,
        group_id="beamsplit-ranges",
        enable_partition_eof=True,
        auto_offset_reset="error",
        allow_auto_create_topics=False,
    )


def read_range(
    consumer: Any, topic: str, part: OffsetRange, errors: ClientErrors, on_gap: str = "fail"
) -> Iterator[pa.RecordBatch]:
    """The messages of a range as blocks, in their order; those that are gone by now are told by a block's `gaps_of`.

    Args:
        consumer: of `open_ranges`.
        topic: its name.
        part: what of it.
        errors: of the consumer.
        on_gap: one of `gaps.POLICIES`.

    Raises:
        GapFoundError: some are gone, and that is not to be let by; or the topic was made anew.
        RuntimeError: some cannot be read, or the broker was silent for too long.
    """
    kafka = require_client()
    consumer.assign([kafka.TopicPartition(topic, part.partition, part.begin)])
    at, rows = part.begin, FIRST_ROWS
    heard = asked = time.monotonic()
    while at < part.end:
        taken = consumer.consume(min(rows, part.end - at), 1.0)
        good = [message for message in taken if message.error() is None]
        if good:
            at = good[-1].offset() + 1
            good = good if at <= part.end else [message for message in good if message.offset() < part.end]
        outside = None
        for message in taken:
            error = message.error()
            if error is None:
                continue
            if error.code() == kafka.KafkaError._PARTITION_EOF:
                # A broker that follows may not have all yet.
                at = part.end if message.offset() >= part.end else at
            elif error.code() == kafka.KafkaError._AUTO_OFFSET_RESET:
                outside = max(at, message.offset())
            elif not (error.retriable() or error.code() in (kafka.KafkaError._TRANSPORT, kafka.KafkaError._RESOLVE)):
                raise RuntimeError(f"--input {topic}, partition {part.partition}, offset {at}: {error.str()}")
        now = time.monotonic()
        if good or outside is not None:
            heard = asked = now
        elif errors.fatal or now - heard > PATIENCE_SECONDS:
            said = errors.fatal or errors.reason() or f"nothing came at offset {at}, below {part.end}"
            raise RuntimeError(f"--input {topic}: the broker does not answer any more ({said})")
        elif now - asked > ASK_SECONDS:
            asked = now
            _check_there(consumer, topic)
        if good:
            block = block_of(good, topic)
            rows = min(MOST_ROWS, max(1, BLOCK_BYTES * block.num_rows // max(1, block.nbytes)))
            yield block
        if outside is not None:
            gap = find_gap(topic, part.partition, outside, end_offsets(consumer, topic, part.partition))
            if gap is not None:
                at = _behind(gap, part.end, on_gap)
                yield with_gaps(no_messages(), [gap._replace(next=at)])
            if at < part.end:
                consumer.assign([kafka.TopicPartition(topic, part.partition, at)])
    consumer.unassign()


def _behind(gap: Gap, end: int, on_gap: str) -> int:
    """Where a range that ends at `end` goes on.

    Raises:
        GapFoundError: nowhere.
    """
    if gap.anew:
        raise GapFoundError(f"--input {gap.line}: start it again")
    check_gaps([gap], on_gap)
    return min(gap.next, end)


def _check_there(consumer: Any, topic: str) -> None:
    """Raise for a topic that is no longer there; the client itself says nothing of it."""
    with contextlib.suppress(require_client().KafkaException):  # the broker is away, which is waited for
        if partitions_of(consumer, topic, 5.0) is None:
            raise RuntimeError(f"--input {topic}: the topic was deleted while it was read")


def only_wanted(
    blocks: Iterable[pa.RecordBatch], topic: str, part: OffsetRange, on_gap: str = "continue"
) -> Iterator[pa.RecordBatch]:
    """The messages of a range that are wanted; those of them that the topic no longer has are told as gaps.

    Raises:
        GapFoundError: there are such, and that is not to be let by.
    """
    assert part.only is not None
    wanted = np.frombuffer(part.only, np.int64)
    seen = np.zeros(len(wanted), bool)
    for block in blocks:
        offsets = block.column(ORIGIN_ROW).to_numpy()
        seen |= np.isin(wanted, offsets)
        mask = np.isin(offsets, wanted)
        if mask.any():
            yield block.filter(pa.array(mask))
    gone = gaps_between(topic, part.partition, wanted[~seen], part.end)
    check_gaps(gone, on_gap)
    if gone:
        yield with_gaps(no_messages(), gone)


class _ReadRangeDoFn(beam.DoFn):
    def __init__(self, config: ClientConfig, topic: Topic, on_gap: str):
        self._config, self._topic, self._on_gap = config, topic, on_gap
        self._consumer: Any = None
        self._errors = ClientErrors()
        self._rows = Metrics.counter("beamsplit", "rows_read")

    def process(self, part: OffsetRange) -> Iterator[pa.RecordBatch]:
        if self._consumer is None:
            self._consumer = open_ranges(self._config, self._errors)
        blocks = read_range(self._consumer, self._topic.name, part, self._errors, self._on_gap)
        for block in blocks if part.only is None else only_wanted(blocks, self._topic.name, part, self._on_gap):
            self._rows.inc(block.num_rows)
            yield block

    def teardown(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class ReadRanges(beam.PTransform):
    """PBegin -> the messages of the ranges, as blocks, and what is gone by now (`gaps.gaps_of`).

    Args:
        config: how to get in.
        topic: to read.
        ranges: what of it.
        workers: that the ranges are dealt to.
        on_gap: one of `gaps.POLICIES`.
    """

    def __init__(
        self, config: ClientConfig, topic: Topic, ranges: Sequence[OffsetRange], workers: int, on_gap: str = "fail"
    ):
        super().__init__()
        self._ranges = deal(ranges, workers)
        self._dofn = _ReadRangeDoFn(config, topic, on_gap)

    def expand(self, pbegin: PBegin) -> PCollection:
        """Wire: the ranges dealt, then read."""
        # Grouped by their number they keep their turns on Beam's in-process runner.
        dealt = (
            pbegin | beam.Impulse() | beam.FlatMap(_numbered, self._ranges).with_output_types(tuple[int, OffsetRange])
        )
        ranges = dealt | beam.GroupByKey() | beam.FlatMap(_ungrouped).with_output_types(OffsetRange)
        return ranges | "Messages" >> beam.ParDo(self._dofn).with_output_types(pa.RecordBatch)


def _numbered(_: bytes, ranges: Sequence[OffsetRange]) -> Iterable[tuple[int, OffsetRange]]:
    return enumerate(ranges)


def _ungrouped(element: tuple[int, Iterable[OffsetRange]]) -> Iterable[OffsetRange]:
    return element[1]
