"""Reads a topic: an unbounded source with one reader a worker, over all of the worker's partitions.

Source:    a runner splits it into `readers` parts; partition p belongs to part p modulo `readers`
Element:   a block of messages (`blocks.RAW_SCHEMA`)
Mark:      partition -> offset; committed to the group when the runner has stored the bundle
Delivery:  at least once: what was not yet committed or checkpointed is read again. A transactional source commits
           nothing, and its blocks tell their ranges of offsets to the sink, which does (`exactly_once.py`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedSource
from apache_beam.pvalue import PBegin, PCollection

from beamsplit.transforms.block_coder import BlockCoder
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.event_time import EventTime
from beamsplit.transforms.kafka.gaps import Gap
from beamsplit.transforms.kafka.offsets import (
    Group,
    OffsetsMark,
    OffsetsMarkCoder,
)
from beamsplit.transforms.kafka.reader import KafkaReader
from beamsplit.transforms.kafka.task_assignment import ReadParts

BUNDLE_SECONDS = 2.0
"""How long a bundle of a busy reader lasts: a checkpoint of Flink waits for its end."""

LONG_BUNDLE_SECONDS = 10.0
"""The same where no checkpoint waits: each end is a flush and a turn of the runner, a tenth of a second in which
messages wait. Offsets are committed as often."""

PARTED_BUNDLE_SECONDS = 0.1
"""The same where other workers make the outputs: they see nothing of a bundle before its end."""

IDLE_WAIT_SECONDS = 0.5
"""`KafkaSource.idle_seconds`, unless told otherwise."""


@dataclass(frozen=True)
class KafkaSource(UnboundedSource):
    """The messages of a topic, or of one part of its partitions."""

    config: ClientConfig
    topic: Topic
    group: str
    """The consumer group whose offsets say how far all is done."""

    start: str | int = "committed"
    """Where partitions begin that the group has no offset for: see `offsets.first_offsets`."""

    readers: int = 1
    """Parts that the source is split into: one a worker."""

    part: int | None = None
    """Which of them this is, from 0; None before it is split."""

    latency_seconds: float = 0.02
    """Longest wait for more messages before a block is emitted (linger)."""

    block_rows: int | None = None
    """Most messages of a block; None finds what pays within `latency_seconds`."""

    transactional: bool = False
    """Whether the sink commits offsets, in its transactions."""

    distributed: bool = False
    """Whether other workers make the outputs. Then offsets are committed a checkpoint later (see `coverage.py`), and a
    bundle ends with the first block that is not full."""

    idle_seconds: float = IDLE_WAIT_SECONDS
    """How long a reader waits for a first message before it ends the bundle."""

    bundle_seconds: float = BUNDLE_SECONDS
    """How long a bundle lasts while there is work."""

    until_end: bool = False
    """End where the topic ended when the reader began."""

    stop_after_idle: float | None = None
    """End after this many seconds without a message."""

    stop_file: str | None = None
    """End when this file is there."""

    on_gap: str = "continue"
    """What to do where messages are gone: one of `gaps.POLICIES`."""

    gaps: tuple[Gap, ...] = ()
    """Those that were found before the job started, to be told with the first blocks."""

    event_time: EventTime | None = None
    """Where messages tell their time; None takes their timestamps."""

    def split(self, desired_num_splits: int, options: Any = None) -> Iterable[KafkaSource]:
        """One source a worker, whatever the runner would like."""
        return [self] if self.part is not None else [replace(self, part=part) for part in range(self.readers)]

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> KafkaReader:
        """A reader that begins at the mark."""
        return KafkaReader(self, checkpoint_mark.offsets if isinstance(checkpoint_mark, OffsetsMark) else {})

    def get_checkpoint_mark_coder(self) -> OffsetsMarkCoder:
        """Knows the group, so that marks need not carry it."""
        return OffsetsMarkCoder(self.consumer_group)

    def default_output_coder(self) -> beam.coders.Coder:
        """Arrow IPC."""
        return BlockCoder()

    @property
    def consumer_group(self) -> Group:
        """Whose offsets are committed."""
        return Group(self.config, self.topic.name, self.group, commits=not self.transactional)

    @property
    def done_file(self) -> str | None:
        """Where a reader of this part leaves word that it ended and all it read is done."""
        return None if self.stop_file is None else f"{self.stop_file}ped-{self.part or 0}"

    def owns(self, partition: int) -> bool:
        """Whether a partition belongs to this part."""
        return partition % self.readers == (self.part or 0)


class ReadMessages(beam.PTransform):
    """PBegin -> PCollection of blocks of messages, each with the earliest time of its messages."""

    def __init__(self, source: KafkaSource):
        super().__init__()
        self._source = source

    def expand(self, begin: PBegin) -> PCollection:
        """Wire: each part with a task of its own, and long bundles while there is work."""
        parts = list(self._source.split(self._source.readers))
        return begin | ReadParts(parts, self._source.bundle_seconds).with_output_types(pa.RecordBatch)
