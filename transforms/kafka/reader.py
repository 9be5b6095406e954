"""Reads the partitions of one part of a topic, bundle after bundle, with one consumer that stays open.

One reader hands on to the next (`handover.py`), with all that it knows, unless the runner begins somewhere else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from apache_beam.io.unbounded_source import UnboundedReader
from apache_beam.metrics import Metrics
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp

import beamsplit.runners.beam_patches.reading_progress  # noqa: F401 before anything is read
from beamsplit.transforms.block import ORIGIN_ROW, TIME
from beamsplit.transforms.kafka.block_size import FIRST, BlockSize
from beamsplit.transforms.kafka.blocks import block_of, with_ranges
from beamsplit.transforms.kafka.clients import (
    ClientErrors,
    partitions_of,
    require_client,
)
from beamsplit.transforms.kafka.coverage import Coverage
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.gaps import Gap, find_gap, no_messages, reason_to_end, with_gaps
from beamsplit.transforms.kafka.handover import HANDOVER
from beamsplit.transforms.kafka.offsets import (
    COMMITTER,
    OffsetsMark,
    asking,
    end_offsets,
    first_offsets,
    positions_beyond,
)
from beamsplit.transforms.kafka.outside import Outside, read_on
from beamsplit.transforms.kafka.partition_watch import PartitionWatch
from beamsplit.transforms.kafka.reading_consumer import reading_consumer
from beamsplit.transforms.kafka.stopping import Ending, end_stream, why_ended
from beamsplit.transforms.kafka.waiting import Waiting
from beamsplit.transforms.kafka.watermark import Watermarks

if TYPE_CHECKING:
    from beamsplit.transforms.kafka.source import KafkaSource

IDLE_PARTITION_SECONDS = 5.0
"""After how long a silent partition no longer holds back the watermark."""

COVER_SECONDS = 0.1
"""Between two looks whether outputs that others make are there, once all is read."""

_KEPT = (
    *("_consumer", "_errors", "_watch", "_ends", "_reached", "_outside", "_gaps", "_told", "_begun"),
    *("_watermarks", "_size", "_heard", "_waiting", "_cover"),
)
"""What one reader leaves to the next."""


class KafkaReader(UnboundedReader):
    """One consumer over all partitions of a part, assigned by hand: the runner decides who reads what."""

    def __init__(self, source: KafkaSource, offsets: dict[int, int]):
        self._source = source
        self.offsets = dict(offsets)
        """Partition -> offset of the next message."""

        self._consumer: Any = None
        self._errors = ClientErrors()
        self._ends: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._outside = Outside(source.topic, patient=source.stop_file is not None)
        self._gaps: list[Gap] = []  # to be told
        self._told: dict[int, int] = {}  # partition -> end of the offsets that blocks have told of
        self._begun: set[int] = set()  # partitions that blocks have told of
        self._block: pa.RecordBatch | None = None
        self._done = False
        self._changed = False
        self._full = False
        self._between_bundles = False
        self._watermarks = Watermarks(IDLE_PARTITION_SECONDS)
        size = source.block_rows
        self._size = BlockSize(source.latency_seconds, size or FIRST, fixed=size is not None)
        self._handed = self._heard = self._looked = 0.0
        self._watch: PartitionWatch | None = None
        self._cover: Coverage | None = None
        self._times = np.array([-1])
        self._rows = Metrics.counter("beamsplit", "rows_read")
        self._timeless = Metrics.counter("beamsplit", "event_times_missing")
        self._waiting = Waiting(source)

    def start(self) -> bool:
        """Go on with the consumer of the bundle before, else open one, and read a first block.

        Raises:
            KafkaException: the broker does not answer, or refuses.
        """
        left = HANDOVER.take(self._source, self.offsets)
        if left is not None:
            self.__dict__.update(left)
        else:
            self._open()
        return self._next()

    def advance(self) -> bool:
        """Read the next block; False where nothing came for a while, or all is read."""
        if self._between_bundles:
            HANDOVER.remove(self._source, self)
        if self._consumer is None:
            # Another instance of the step has run bundles since, and may have read nothing in them.
            return self.start()
        return self._next()

    def leave(self) -> dict[str, Any]:
        """Give away the consumer and what belongs to it."""
        left = {name: self.__dict__[name] for name in _KEPT}
        self._consumer = self._watch = None
        return left

    def _open(self) -> None:
        source = self._source
        self._consumer = reading_consumer(
            source.config, source.group, self._errors, source.latency_seconds, source.until_end, source.transactional
        )
        COMMITTER.add(source.consumer_group, self._consumer)
        self._heard = time.monotonic()
        partitions = partitions_of(self._consumer, source.topic.name, 30.0)
        if partitions is None and source.stop_file is None:
            raise RuntimeError(f"--input {source.topic}: the cluster has no such topic any more")
        self._assign(partitions or [])
        if source.distributed:
            self._cover = Coverage(self.offsets)
        if not source.until_end:
            self._watch = PartitionWatch(self._consumer, source.topic.name, source.config.metadata_seconds())

    def _next(self) -> bool:
        now = time.monotonic()
        waits = False
        if self._block is not None and self._block.num_rows and not self._between_bundles:
            # Else the time is the runner's, between two bundles.
            self._size.observe(self._block.num_rows, now - self._handed, self._block.nbytes)
            # Other workers see the block when the bundle is over.
            waits = self._source.distributed and not self._full
        self._block, self._between_bundles = None, False
        if self._watch is not None and (found := self._watch.found):
            self._assign(found)
        self._done = self._done or self._asked_to_stop(now)
        if self._done:
            self._tell_backlog()
            if not self._tell_last_marks() and not self._ended:
                time.sleep(COVER_SECONDS)
            return self._block is not None
        if waits:
            return False
        wanted = self._size.rows
        messages = self._take(wanted)
        self._full = len(messages) >= wanted
        self._handed = now = time.monotonic()
        if messages:
            self._block = block_of(messages, self._source.topic.name)
            self._note(messages, self._block, now)
        if self._outside:
            self._find_gaps()
        if self._gaps or self._source.transactional:
            self._tell_gaps_and_ranges()
        if self._waiting.due(now):
            self._tell_backlog()
        self._done = self._done or self._at_end(now)
        if self._done and self._block is None:
            self._tell_last_marks()
        return self._block is not None

    def get_current(self) -> pa.RecordBatch:
        """The block."""
        return self._block

    def get_current_timestamp(self) -> Timestamp:
        """The earliest of its messages: none of its rows is late by the others."""
        earliest = int(self._times.min()) if self._block is not None else -1
        return Timestamp(micros=earliest * 1000) if earliest >= 0 else Timestamp.now()

    def get_watermark(self) -> Timestamp:
        """The least event time over the partitions that are not idle; the end of time where all is read."""
        if self._ended:
            return MAX_TIMESTAMP
        value = self._watermarks.value(time.monotonic(), frozenset(p for p, wait in self._backlog().items() if wait))
        return MIN_TIMESTAMP if value is None else Timestamp(micros=value * 1000)

    def get_checkpoint_mark(self) -> OffsetsMark:
        """How far this reader has come."""
        if not self._source.transactional and self._consumer is not None and self._move_on():
            self._changed = True
        changed, self._changed = self._changed, False
        ended = self._ended
        self._between_bundles = not ended
        if not ended:
            HANDOVER.put(self._source, self)
        return OffsetsMark(
            self._source.consumer_group,
            self.offsets,
            changed,
            self._source.done_file if ended else None,
            None if ended else self._cover,
        )

    @property
    def _ended(self) -> bool:
        """Whether nothing will come any more, and the outputs of all that came are there."""
        covered = self._cover is None or self._cover.offsets == self.offsets
        return self._done and self._block is None and covered

    def close(self) -> None:
        """Leave the broker, unless another reader has taken the consumer over."""
        HANDOVER.remove(self._source, self)
        left = self.leave()
        if left["_watch"] is not None:
            left["_watch"].close()
        if left["_consumer"] is not None:
            COMMITTER.remove(self._source.consumer_group, left["_consumer"])
            left["_consumer"].close()
            self._waiting.forget(self.offsets)

    def _assign(self, partitions: Sequence[int]) -> None:
        """Take over partitions of this part that are not read yet; new ones are read from their first message."""
        kafka = require_client()
        source = self._source
        new = [p for p in partitions if source.owns(p) and p not in self._watermarks.clocks]
        if not new:
            return
        # Those that are not known where others have been read before were added since.
        start = "earliest" if self.offsets or self._watch is not None else source.start
        if not self.offsets:
            self._gaps += [gap for gap in source.gaps if gap.partition in new]
        with asking(source.consumer_group, self._consumer) as client:
            first = first_offsets(client, source.topic.name, new, self.offsets, start)
        self.offsets |= first
        self._told |= first
        if source.until_end:
            for partition in new:
                log = end_offsets(self._consumer, source.topic.name, partition)
                self._ends[partition] = log[1]
                gap = find_gap(source.topic.name, partition, self.offsets[partition], log)
                if gap is not None:
                    self._pass(gap)
        now = time.monotonic()
        for partition in new:
            self._watermarks.add(partition, now)
        self._consumer.incremental_assign(
            [kafka.TopicPartition(source.topic.name, partition, self.offsets[partition]) for partition in new]
        )

    def _take(self, wanted: int) -> list[Any]:
        """Messages for a block: what waits already, else the first to come, and those that come in time after it."""
        waits = self._source.latency_seconds
        began = self._handed
        taken: list[Any] = self._consumer.consume(wanted, 0)
        if not taken:
            taken = self._consumer.consume(1, self._source.idle_seconds)
            began = time.monotonic()
        # What waited came after the last block was handed on: it has waited that long at most.
        left = began + waits - time.monotonic()
        if taken and len(taken) < wanted and left > 0:
            taken += self._consumer.consume(wanted - len(taken), left)
        if any(map(type(taken[0]).error, taken)) if taken else False:
            for message in taken:
                self._outside.heed(message, self._reached)
            taken = [message for message in taken if message.error() is None]
        if self._errors.fatal:
            raise RuntimeError(f"--input {self._source.topic}: {self._errors.fatal}")
        return taken

    def _find_gaps(self) -> None:
        """Of partitions that cannot be read where they were, find what is gone, and read on behind it."""
        for partition, at, gap in self._outside.find(self._consumer, self.offsets):
            if gap is None or self._pass(gap):
                read_on(self._consumer, self._source.topic.name, partition, at if gap is None else gap.next)

    def _pass(self, gap: Gap) -> bool:
        """Go on behind a gap, to be told with the next block; False where the stream is to end there."""
        source = self._source
        reason = reason_to_end(gap, source.on_gap, source.transactional)
        if reason is None:
            self._gaps.append(gap)
            self.offsets[gap.partition] = gap.next
            if gap.anew and gap.partition in self._ends:
                self._ends[gap.partition] = gap.end
                self._reached.pop(gap.partition, None)
            return True
        if source.stop_file is None:
            raise JobEndsError(reason)
        end_stream(source.stop_file, Ending(reason))
        self._done = True
        return False

    def _tell_gaps_and_ranges(self) -> None:
        """Put gaps, and the offsets that a transaction is to tell, into the block; or into one without messages."""
        source = self._source
        read = {p: (begin, self.offsets[p]) for p, begin in self._told.items() if self.offsets[p] > begin}
        # Of a transaction: that of their partition, which is opened when it goes on.
        gaps = [gap for gap in self._gaps if not source.transactional or gap.partition in read]
        if self._block is None and not (gaps or (self._done and read)):
            return
        if self._block is None:
            self._block, self._times = no_messages(), np.array([-1])
        if source.transactional:
            self._block = with_ranges(self._block, read, read.keys() - self._begun)
            self._told = dict(self.offsets)
            self._begun |= read.keys()
        if gaps:
            self._block, self._changed = with_gaps(self._block, gaps), True
            self._gaps = [gap for gap in self._gaps if gap not in gaps]

    def _tell_last_marks(self) -> bool:
        """At the end, let a transaction commit the marks behind the last message; False where there are none."""
        if not self._source.transactional or not self._move_on():
            return False
        self._tell_gaps_and_ranges()
        return True

    def _move_on(self) -> bool:
        """Take what has no messages (marks of transactions) as read; False where there is none."""
        moved = positions_beyond(self._consumer, self._source.topic.name, self.offsets)
        self.offsets |= moved
        return bool(moved)

    def _note(self, messages: list[Any], block: pa.RecordBatch, now: float) -> None:
        kind = type(messages[0])
        partitions = np.fromiter(map(kind.partition, messages), np.int32, len(messages))
        offsets = block.column(ORIGIN_ROW).to_numpy()
        for partition in np.unique(partitions).tolist():
            self.offsets[partition] = int(offsets[partitions == partition].max()) + 1
        self._times = self._event_times(block)
        self._watermarks.saw(partitions, self._times, now)
        self._heard, self._changed = now, True
        self._rows.inc(len(messages))

    def _event_times(self, block: pa.RecordBatch) -> np.ndarray:
        if self._source.event_time is None:
            return block.column(TIME).to_numpy()
        times, missing = self._source.event_time.of(block)
        if missing:
            self._timeless.inc(missing)
        return times

    def _backlog(self) -> dict[int, int]:
        return self._waiting.of(self._consumer, self.offsets)

    def _tell_backlog(self) -> None:
        self._waiting.tell(self._backlog(), self._watermarks)

    def _asked_to_stop(self, now: float) -> bool:
        if self._source.stop_file is None or now - self._looked < 0.1:
            return False
        self._looked = now
        if not os.path.exists(self._source.stop_file):
            return False
        ending = why_ended(self._source.stop_file)
        if ending is not None and not ending.commit:
            COMMITTER.forbid(self._source.consumer_group)
        return True

    def _at_end(self, now: float) -> bool:
        source = self._source
        if source.stop_after_idle is not None and now - self._heard >= source.stop_after_idle:
            if self._waiting.answered(self._consumer, self.offsets):
                return True
            # A broker that takes its time is not silent: what waits there has not been asked for yet.
            self._heard = now
        return source.until_end and all(
            max(self.offsets[p], self._reached.get(p, 0)) >= end for p, end in self._ends.items()
        )
