"""Where each partition is read from, and how far it has been read: checkpoint marks and commits."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.io.unbounded_source import CheckpointMark

from beamsplit.transforms.kafka.clients import ANSWER_MS, make_consumer, may_pass, partitions_of, require_client
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.coverage import Coverage
from beamsplit.transforms.kafka.gaps import Gap, find_gap

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long one question to the broker may take."""

PATIENCE_SECONDS = 120.0
"""How long a reader tries to find where to begin: a broker may be starting anew."""


@dataclass(frozen=True)
class Group:
    """A consumer group on a topic."""

    config: ClientConfig
    topic: str
    name: str

    commits: bool = True
    """Whether finalized bundles commit; not where transactions of the sink do."""


class Committer:
    """Commits offsets with the consumer that reads them, where it is in this process.

    Opening a consumer takes a tenth of a second and more, which every bundle's end would pay.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[Group, list[Any]] = {}
        self._forbidden: set[Group] = set()

    def add(self, group: Group, consumer: Any) -> None:
        """A consumer of the group is open."""
        with self._lock:
            self._live.setdefault(group, []).append(consumer)

    def remove(self, group: Group, consumer: Any) -> None:
        """A consumer of the group is about to be closed."""
        with self._lock:
            self._live[group].remove(consumer)

    def forbid(self, group: Group) -> None:
        """Commit nothing more: the topic is another one by now, whose offsets mean something else."""
        with self._lock:
            self._forbidden.add(group)

    def commit(self, group: Group, offsets: Mapping[int, int]) -> None:
        """Tell the broker that the group has done everything below these offsets."""
        kafka = require_client()
        positions = [kafka.TopicPartition(group.topic, partition, offset) for partition, offset in offsets.items()]
        if not positions or group in self._forbidden:
            return
        with self._lock:
            live = self._live.get(group)
            if live:
                live[-1].commit(offsets=positions, asynchronous=True)
                return
        consumer = make_consumer(group.config, group_id=group.name)
        try:
            consumer.commit(offsets=positions, asynchronous=False)
        finally:
            consumer.close()


COMMITTER = Committer()
"""The one of this process."""


class OffsetsMark(CheckpointMark):
    """How far a reader has come: for each of its partitions the offset of the next message."""

    def __init__(
        self,
        group: Group,
        offsets: Mapping[int, int],
        changed: bool = True,
        done_file: str | None = None,
        coverage: Coverage | None = None,
    ):
        self.group = group
        self.offsets = dict(offsets)
        self.changed = changed
        """Whether anything was read since the mark before."""

        self.done_file = done_file
        """Where to leave word that the reader ended here and all is committed; None where it goes on."""

        self._covered = None if coverage is None else (coverage, coverage.ended(offsets))
        """Of the reader, where a finalized bundle's outputs may be on their way; does not travel."""

    def finalize_checkpoint(self) -> None:
        """Commit to the group: the runner has stored what came of these messages."""
        if self._covered is not None:
            coverage, end = self._covered
            covered = coverage.finalized(end)
            if covered is not None and self.group.commits:
                COMMITTER.commit(self.group, covered)
            return
        if self.group.commits and (self.changed or self.done_file):
            COMMITTER.commit(self.group, self.offsets)
        if self.done_file and os.path.isdir(os.path.dirname(self.done_file)):
            Path(self.done_file).touch()


class OffsetsMarkCoder(beam.coders.Coder):
    """A mark as JSON, partitions in order; the group is the source's."""

    def __init__(self, group: Group):
        self._group = group

    def encode(self, value: OffsetsMark) -> bytes:
        """Equal marks give equal bytes: Beam finds the open reader by them."""
        return json.dumps([sorted(value.offsets.items()), value.changed, value.done_file]).encode()

    def decode(self, encoded: bytes) -> OffsetsMark:
        """Read back the mark."""
        offsets, changed, done_file = json.loads(encoded)
        return OffsetsMark(self._group, {int(part): int(offset) for part, offset in offsets}, changed, done_file)

    def is_deterministic(self) -> bool:
        """Partitions are sorted."""
        return True


@contextlib.contextmanager
def asking(group: Group, consumer: Any) -> Iterator[Any]:
    """Who asks for the group's offsets: the consumer, if it is not kept waiting.

    A reader of committed messages would wait for a transaction that a worker has left open when it was killed, which
    the sink ends, once it has messages. The sink drops what then turns out to be done.
    """
    if group.commits:
        yield consumer
        return
    client = make_consumer(
        group.config, group_id=group.name, isolation_level="read_uncommitted", socket_timeout_ms=ANSWER_MS
    )
    try:
        yield client
    finally:
        client.close()


def first_offsets(
    consumer: Any, topic: str, partitions: Sequence[int], mark: Mapping[int, int], start: str | int
) -> dict[int, int]:
    """Where to begin each partition: at the mark, else where the group's commits end, else at `start`.

    Args:
        consumer: of the group.
        topic: the topic.
        partitions: those to read.
        mark: what an earlier reader reached.
        start: `earliest` or `committed` (the oldest message there is), `latest`, or milliseconds since 1970.

    Raises:
        KafkaException: the broker did not answer for `PATIENCE_SECONDS`, or refuses.
    """
    return patiently(lambda: _first_offsets(consumer, topic, partitions, mark, start), consumer, topic)


def committed_end(consumer: Any, topic: str, partition: int) -> int | None:
    """How far the consumer's group has done a partition; None where it has no offset.

    Raises:
        KafkaException: the broker did not answer for `PATIENCE_SECONDS`, or refuses.
    """
    kafka = require_client()
    asked = [kafka.TopicPartition(topic, partition)]
    found = patiently(lambda: consumer.committed(asked, timeout=ANSWER_SECONDS)[0].offset, consumer, topic)
    return found if found >= 0 else None


def committed_metadata(consumer: Any, topic: str, partition: int) -> str:
    """What was committed beside the offset of a partition; empty where nothing was.

    Raises:
        KafkaException: as for `committed_end`.
    """
    asked = [require_client().TopicPartition(topic, partition)]
    return patiently(lambda: consumer.committed(asked, timeout=ANSWER_SECONDS)[0].metadata, consumer, topic) or ""


def committed_gaps(group: Group) -> list[Gap]:
    """What is gone of a topic where a group is; nothing of partitions that it has no offset for.

    Raises:
        KafkaException: the broker did not answer for `PATIENCE_SECONDS`, or refuses.
    """
    kafka = require_client()
    consumer = make_consumer(group.config, group_id=group.name, isolation_level="read_uncommitted")
    try:
        partitions = patiently(lambda: partitions_of(consumer, group.topic, ANSWER_SECONDS), consumer, group.topic)
        asked = [kafka.TopicPartition(group.topic, partition) for partition in partitions or []]
        found = patiently(lambda: consumer.committed(asked, timeout=ANSWER_SECONDS), consumer, group.topic)
        gaps = []
        for at in found:
            if at.offset >= 0:
                log = end_offsets(consumer, group.topic, at.partition)
                gaps.append(find_gap(group.topic, at.partition, at.offset, log))
        return [gap for gap in gaps if gap is not None]
    finally:
        consumer.close()


def patiently(ask: Callable[[], T], consumer: Any, topic: str) -> T:
    """Ask the broker, again where it is away for a while.

    Raises:
        KafkaException: it did not answer for `PATIENCE_SECONDS`, or refuses.
    """
    kafka = require_client()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except kafka.KafkaException as error:
            said = error.args[0]
            if not may_pass(said) or time.monotonic() > deadline:
                raise
            _LOG.warning("kafka://%s does not answer (%s); trying again", topic, said.str())
            consumer.poll(0.5)


def _first_offsets(
    consumer: Any, topic: str, partitions: Sequence[int], mark: Mapping[int, int], start: str | int
) -> dict[int, int]:
    kafka = require_client()
    found = {partition: mark[partition] for partition in partitions if partition in mark}
    asked = [kafka.TopicPartition(topic, partition) for partition in partitions if partition not in found]
    for position in consumer.committed(asked, timeout=ANSWER_SECONDS) if asked else []:
        if position.offset >= 0:
            found[position.partition] = position.offset
    left = [partition for partition in partitions if partition not in found]
    if isinstance(start, int) and left:
        times = [kafka.TopicPartition(topic, partition, start) for partition in left]
        for position in consumer.offsets_for_times(times, timeout=ANSWER_SECONDS):
            if position.offset >= 0:
                found[position.partition] = position.offset
    for partition in left:
        if partition not in found:
            # Numbers, not "the end": a mark that says "the end" would skip what comes before it is used.
            low, high = end_offsets(consumer, topic, partition)
            found[partition] = low if start in ("earliest", "committed") else high
    return found


def end_offsets(consumer: Any, topic: str, partition: int) -> tuple[int, int]:
    """The offsets of the oldest message of a partition and of the one that will come next."""
    kafka = require_client()
    position = kafka.TopicPartition(topic, partition)
    low, high = consumer.get_watermark_offsets(position, timeout=ANSWER_SECONDS)
    return low, high


def known_ends(consumer: Any, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Partition -> the offset that will come next, as the consumer was told while fetching; below 0 if it was not."""
    kafka = require_client()
    asked = {partition: kafka.TopicPartition(topic, partition) for partition in partitions}
    return {p: consumer.get_watermark_offsets(position, cached=True)[1] for p, position in asked.items()}


def positions_beyond(consumer: Any, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
    """Partition -> where a consumer is, of those where that is beyond the last message: it passed marks of
    transactions."""
    kafka = require_client()
    asked = [kafka.TopicPartition(topic, partition) for partition in offsets]
    found = consumer.position(asked) if asked else []
    return {one.partition: one.offset for one in found if one.offset > offsets[one.partition]}
