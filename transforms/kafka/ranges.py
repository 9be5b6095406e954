"""Reads a topic up to its end: ranges of offsets, each by one worker, as splits of files are.

Range:     of one partition, fixed before the job starts, so that a retry reads the same messages
Element:   a block of messages (`blocks.RAW_SCHEMA`)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PBegin, PCollection

from transforms import block_coder as _block_coder  # registers the coder of blocks  # noqa: F401
from transforms.kafka.blocks import block_of
from transforms.kafka.clients import ClientErrors, make_consumer, require_client
from transforms.kafka.config import ClientConfig, Topic
from transforms.kafka.offsets import end_offsets, first_offsets

LEAST_MESSAGES = 10_000
"""Shorter ranges are not worth the seeking."""

FIRST_ROWS, MOST_ROWS, BLOCK_BYTES = 256, 16_384, 8 << 20
"""Messages of the first block, most of any, and about how many bytes of them."""

PATIENCE_SECONDS = 120.0
"""How long a broker may be silent in mid-range."""


@dataclass(frozen=True)
class OffsetRange:
    """Messages of one partition."""

    partition: int

    begin: int
    """Offset of the first."""

    end: int
    """One past the last; offsets between may be missing, in compacted topics and where transactions ended."""


def cut_ranges(spans: Mapping[int, tuple[int, int]], pieces: int) -> list[OffsetRange]:
    """About so many ranges of about equal length, partition after partition.

    >>> cut_ranges({0: (5, 20_005), 1: (0, 10_000), 2: (7, 7)}, 3)
    [OffsetRange(partition=0, begin=5, end=10005), OffsetRange(partition=0, begin=10005, end=20005), \
OffsetRange(partition=1, begin=0, end=10000)]
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
) -> dict[int, tuple[int, int]]:
    """Of each partition the offset to begin at, and that of the message that will come next.

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
        spans = {}
        for partition in partitions:
            low, high = end_offsets(consumer, topic.name, partition)
            spans[partition] = (min(max(first[partition], low), high), high)
        return spans
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


def read_range(consumer: Any, topic: str, part: OffsetRange, errors: ClientErrors) -> Iterator[pa.RecordBatch]:
    """The messages of a range as blocks, in their order.

    Raises:
        RuntimeError: some cannot be had any more, or the broker was silent for too long.
    """
    kafka = require_client()
    consumer.assign([kafka.TopicPartition(topic, part.partition, part.begin)])
    at, rows, heard = part.begin, FIRST_ROWS, time.monotonic()
    while at < part.end:
        taken = consumer.consume(min(rows, part.end - at), 1.0)
        good = [message for message in taken if message.error() is None]
        if good:
            at = good[-1].offset() + 1
            good = good if at <= part.end else [message for message in good if message.offset() < part.end]
        for error in (message.error() for message in taken if message.error() is not None):
            if error.code() == kafka.KafkaError._PARTITION_EOF:
                at = part.end
            elif not (error.retriable() or error.code() in (kafka.KafkaError._TRANSPORT, kafka.KafkaError._RESOLVE)):
                raise RuntimeError(f"--input {topic}, partition {part.partition}, offset {at}: {error.str()}")
        if taken:
            heard = time.monotonic()
        elif errors.fatal or time.monotonic() - heard > PATIENCE_SECONDS:
            said = errors.fatal or errors.reason()
            raise RuntimeError(f"--input {topic}: the broker does not answer any more ({said})")
        if good:
            block = block_of(good, topic)
            rows = min(MOST_ROWS, max(1, BLOCK_BYTES * block.num_rows // max(1, block.nbytes)))
            yield block
    consumer.unassign()


class _ReadRangeDoFn(beam.DoFn):
    def __init__(self, config: ClientConfig, topic: Topic):
        self._config, self._topic = config, topic
        self._consumer: Any = None
        self._errors = ClientErrors()
        self._rows = Metrics.counter("beamsplit", "rows_read")

    def process(self, part: OffsetRange) -> Iterator[pa.RecordBatch]:
        if self._consumer is None:
            self._consumer = open_ranges(self._config, self._errors)
        for block in read_range(self._consumer, self._topic.name, part, self._errors):
            self._rows.inc(block.num_rows)
            yield block

    def teardown(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class ReadRanges(beam.PTransform):
    """PBegin -> the messages of the ranges, as blocks.

    Args:
        config: how to get in.
        topic: to read.
        ranges: what of it.
        workers: that the ranges are dealt to.
    """

    def __init__(self, config: ClientConfig, topic: Topic, ranges: Sequence[OffsetRange], workers: int):
        super().__init__()
        self._ranges = deal(ranges, workers)
        self._dofn = _ReadRangeDoFn(config, topic)

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
