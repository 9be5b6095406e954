"""What came out of a topic, and what that says: rows a second, latencies, predictions, what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.measure import ProgramFailed
from benchmarks.stream_messages import KEY
from benchmarks.stream_values import TENSOR, decode

SKIPPED, KEPT = 0.1, 0.95
"""Shares of the outputs at which the clock starts and stops: a program begins slowly and may end in mid-batch."""

ANSWER_SECONDS = 10.0
"""How long the broker may refuse to say what is in a topic."""


@dataclass
class Outputs:
    """Outputs in the order in which they were read."""

    keys: np.ndarray = field(default_factory=lambda: np.empty(0, KEY))
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """[outputs, values]"""

    appended_ms: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """The messages' timestamps: of the broker's clock, in a topic of `LogAppendTime`."""

    read_us: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """When the measuring consumer had them, microseconds since 1970."""

    def rows_per_second(self) -> float:
        """By the broker's clock, from the first tenth of the outputs to nearly the last."""
        return rate_of(self.appended_ms / 1e3)

    def latencies_ms(self, first: int) -> np.ndarray:
        """From sending to reading, of each message numbered `first` or more; of outputs that came twice, the first."""
        _, at = np.unique(self.keys["number"], return_index=True)
        at = at[self.keys["number"][at] >= first]
        return (self.read_us[at] - self.keys["sent_us"][at]) / 1e3

    def difference(self, expected: np.ndarray) -> float:
        """The largest from the predictions that are right, [payloads, values]."""
        return float(np.abs(self.values - expected[self.keys["number"] % len(expected)]).max())


def rate_of(seconds: np.ndarray) -> float:
    """Events a second between the first tenth of the events and nearly the last.

    Events of one instant came together, so the clock starts and stops at instants:

        events    8    8    8    8    8
        seconds   1    2    3    4    5      from 1 to 5 came 4 times 8: 8 a second

    Raises:
        ProgramFailed: there are too few instants to tell.
    """
    instants, counts = np.unique(seconds, return_counts=True)
    done = np.cumsum(counts)
    if len(done) < 3:
        raise ProgramFailed(f"{len(seconds)} outputs at {len(done)} instants are too few to tell a rate")
    begin = int(np.searchsorted(done, SKIPPED * done[-1]))
    end = max(begin + 1, int(np.searchsorted(done, KEPT * done[-1])))
    begin, end = min(begin, len(done) - 2), min(end, len(done) - 1)
    return float((done[end] - done[begin]) / (instants[end] - instants[begin]))


class Numbers:
    """Which numbers from 0 on were seen; those below 0, of a warm-up, are left out."""

    def __init__(self) -> None:
        self._seen = np.zeros(1 << 16, bool)
        self.count = 0
        """How many, each once."""

    def add(self, numbers: np.ndarray) -> None:
        """Take in some, in any order."""
        numbers = np.unique(numbers[numbers >= 0])
        if len(numbers) and numbers[-1] >= len(self._seen):
            more = max(len(self._seen), int(numbers[-1]) + 1)
            self._seen = np.concatenate([self._seen, np.zeros(more, bool)])
        self.count += int((~self._seen[numbers]).sum())
        self._seen[numbers] = True


class MeasuringConsumer:
    """Reads all partitions of a topic from their beginning, and remembers when it had what."""

    def __init__(self, servers: str, topic: str, format: str = TENSOR):
        import confluent_kafka as kafka

        self._topic, self._format = topic, format
        self._consumer = kafka.Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "measure",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        self._parts = sorted(self._consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        self._consumer.assign([kafka.TopicPartition(topic, part, 0) for part in self._parts])
        self._chunks: list[tuple[bytes, list[bytes], np.ndarray, np.ndarray]] = []
        self.count = 0
        """Outputs that were read, those of the warm-up and those that came twice too."""

        self._reached: dict[int, int] = {}

        self.load = Numbers()
        """Messages of the load that have an output."""

    def written(self) -> int:
        """Messages in the topic; the markers of transactions count too."""
        return sum(self.ends().values())

    def ends(self) -> dict[int, int]:
        """The offset of each partition's end: where a transaction is open, of its begin."""
        import confluent_kafka as kafka

        positions = [kafka.TopicPartition(self._topic, part) for part in self._parts]
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return {at.partition: self._consumer.get_watermark_offsets(at, timeout=10)[1] for at in positions}
            except kafka.KafkaException as error:
                # A topic that was just made has no leader for a moment.
                if time.monotonic() > deadline:
                    raise ProgramFailed(f"the measuring consumer: {error.args[0].str()}") from error
                time.sleep(0.1)

    def has_read(self, ends: Mapping[int, int]) -> bool:
        """Whether all that is below these offsets was read: the last of a partition may be no message, but a marker."""
        return all(self._reached.get(partition, 0) >= end for partition, end in ends.items())

    def read(self, seconds: float) -> int:
        """Take what comes within some seconds; how many."""
        messages: list[Any] = self._consumer.consume(10_000, seconds)
        now = time.time_ns() // 1000
        if any(message.error() is not None for message in messages):
            messages = self._without_ends(messages)
        if messages:
            kind = type(messages[0])
            times = np.fromiter((when for _, when in map(kind.timestamp, messages)), np.int64, len(messages))
            read = np.full(len(messages), now)
            keys = b"".join(map(kind.key, messages))
            self._chunks.append((keys, list(map(kind.value, messages)), times, read))
            self.count += len(messages)
            self.load.add(np.frombuffer(keys, KEY)["number"])
        return len(messages)

    def _without_ends(self, messages: list[Any]) -> list[Any]:
        import confluent_kafka as kafka

        for message in messages:
            if (error := message.error()) is not None:
                if error.code() != kafka.KafkaError._PARTITION_EOF:
                    raise ProgramFailed(f"the measuring consumer: {error.str()}")
                self._reached[message.partition()] = message.offset()
        return [message for message in messages if message.error() is None]

    def outputs(self) -> Outputs:
        """All that was read."""
        if not self._chunks:
            return Outputs()
        keys, values, times, read = zip(*self._chunks, strict=True)
        rows = decode(self._format, [value for chunk in values for value in chunk])
        return Outputs(np.frombuffer(b"".join(keys), KEY), rows, np.concatenate(times), np.concatenate(read))

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
