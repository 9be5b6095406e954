"""A broker in this process, for senders: takes batches, refuses some, and fills up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from beamsplit.transforms.kafka import limits
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.limits import TopicLimits

kafka = pytest.importorskip("confluent_kafka")

Verdict = Callable[[str, bytes, "bytes | None", int], "int | None"]
"""Topic, value, key and time of a message -> why it is refused, or None."""


class FakeMessage:
    """What a report is given."""

    def __init__(self, topic: str, value: bytes, key: bytes | None):
        self._told = topic, value, key

    def topic(self) -> str:
        return self._told[0]

    def value(self) -> bytes:
        return self._told[1]

    def key(self) -> bytes | None:
        return self._told[2]


class FakeBroker:
    """Takes the messages of a producer, a batch a topic and flush; refuses a batch for any of its messages."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []
        """Topic and value of each message that was taken, of transactions once they are committed."""

        self.committed: list[int] = []
        """Offsets that were committed in transactions."""

        self.done: dict[int, int] = {}
        """Partition -> the last of them."""

        self.verdict: Verdict = lambda *_: None
        self.names_culprits = False
        self.room: int | None = None
        """Messages that a producer's queue holds; None for any number."""

        self.most = 1_000_000
        """Bytes that the client takes."""

        self.topics_gone: set[str] = set()
        self.made: list[dict[str, Any]] = []
        """What each producer was made with."""

        self.polls = 0

    def make_producer(self, config: ClientConfig, errors: Any, **ours: Any) -> FakeProducer:
        """In place of `clients.make_producer`."""
        self.made.append(ours)
        return FakeProducer(self, ours)


class FakeProducer:
    """What is used of `confluent_kafka.Producer`."""

    def __init__(self, broker: FakeBroker, ours: dict[str, Any]):
        self._broker, self._alone = broker, ours.get("batch_num_messages") == 1
        self._transactional = ours.get("transactional_id") is not None
        self._queue: list[tuple[str, bytes, bytes | None, Any, int]] = []
        self._taken: list[tuple[str, bytes]] = []
        self._lost = False

    def __len__(self) -> int:
        return len(self._queue)

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, report: Any, _: None, time: int, headers: Any
    ) -> None:
        assert partition == -1
        if self._lost:
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._STATE))
        if self._broker.room is not None and len(self._queue) >= self._broker.room:
            raise BufferError("Local: Queue full")
        if len(value) > self._broker.most:
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError.MSG_SIZE_TOO_LARGE))
        self._queue.append((topic, value, key, report, time))

    def poll(self, seconds: float) -> int:
        self._broker.polls += 1
        if seconds and self._broker.room is not None:
            self._deliver(1)
        return 0

    def flush(self, seconds: float) -> int:
        self._deliver(len(self._queue))
        return len(self._queue)

    def purge(self) -> None:
        self._queue = []

    def _batches(self, count: int) -> Iterator[list[tuple[str, bytes, bytes | None, Any, int]]]:
        batch, self._queue = self._queue[:count], self._queue[count:]
        if self._alone:
            yield from ([one] for one in batch)
            return
        for topic in dict.fromkeys(one[0] for one in batch):
            yield [one for one in batch if one[0] == topic]

    def _deliver(self, count: int) -> None:
        for batch in list(self._batches(count)):
            if batch[0][0] in self._broker.topics_gone:
                self._queue += batch
                continue
            why = [self._broker.verdict(topic, value, key, time) for topic, value, key, _, time in batch]
            found = next((code for code in why if code is not None), None)
            if self._lost or found is not None:
                for (topic, value, key, report, _), own in zip(batch, why, strict=True):
                    code = kafka.KafkaError._PURGE_QUEUE if self._lost else found
                    if not self._lost and self._broker.names_culprits and own is None:
                        code = kafka.KafkaError._INVALID_DIFFERENT_RECORD
                    report(kafka.KafkaError(code), FakeMessage(topic, value, key))
                self._lost = self._transactional
                continue
            (self._taken if self._transactional else self._broker.log).extend(one[:2] for one in batch)

    def init_transactions(self, *_: Any) -> None:
        self._taken, self._begun = [], False

    def begin_transaction(self) -> None:
        assert not self._lost and not self._begun
        self._begun = True

    def abort_transaction(self, *_: Any) -> None:
        self._taken, self._begun = [], False

    def send_offsets_to_transaction(self, offsets: Any, *_: Any) -> None:
        assert self._begun
        self._end = offsets[0]

    def commit_transaction(self, *_: Any) -> None:
        assert not self._lost and not self._queue and self._begun
        self._broker.log += self._taken
        self._broker.committed.append(self._end.offset)
        self._broker.done[self._end.partition] = self._end.offset
        self._taken, self._begun = [], False


def settings(monkeypatch: pytest.MonkeyPatch, **topics: TopicLimits) -> None:
    """What the settings of each topic say; those of others cannot be read."""
    monkeypatch.setattr(limits, "_KNOWN", {})
    monkeypatch.setattr(limits, "read_limits", lambda _, topic: topics.get(topic))
