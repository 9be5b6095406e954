"""Both ends of a soak: a thread that fills a topic steadily, and one that counts the outputs of each message."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import numpy as np

from benchmarks import soak_poison
from benchmarks.measure import ProgramFailed

TICK_SECONDS = 0.02
"""Between two lots of messages."""

PATIENCE_SECONDS = 120.0
"""How long the last messages may take to the broker, and the end of a topic to be read."""


class Sender:
    """Sends rows of 4 floats, and poison among them, to the partitions in turn; a broker that is away loses nothing.

    Args:
        servers: of the broker.
        topic: where to, with nothing in it.
        partitions: of the topic.
        rate: messages a second.
        poison: one message of so many cannot be scored (`soak_poison`); 0 is none.
    """

    def __init__(self, servers: str, topic: str, partitions: int, rate: float, poison: int = 0):
        import confluent_kafka

        self._topic, self._partitions, self._rate, self._poison = topic, partitions, rate, poison
        config: dict[str, Any] = {"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 0}
        self._failed: list[str] = []
        config |= {"delivery.report.only.error": True, "on_delivery": self._report}
        self._producer = confluent_kafka.Producer(config)
        self._count = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def sent(self) -> np.ndarray:
        """Messages given to the producer so far, for each partition: the next offset."""
        return (self._count + self._partitions - 1 - np.arange(self._partitions)) // self._partitions

    def wait_for(self, messages: int) -> None:
        """Wait until so many are sent."""
        while self._count < messages and self._thread.is_alive():
            time.sleep(TICK_SECONDS)

    def stop(self) -> np.ndarray:
        """Send no more, and wait until all is with the broker: messages of each partition.

        Raises:
            ProgramFailed: some cannot be sent.
        """
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        left = self._producer.flush(PATIENCE_SECONDS)
        if left or self._failed:
            raise ProgramFailed(f"{left + len(self._failed)} messages cannot be sent: {', '.join(self._failed[:1])}")
        return self.sent()

    def _report(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ending.wait(TICK_SECONDS):
            wanted = int((time.monotonic() - began) * self._rate)
            while self._count < wanted and not self._ending.is_set():
                each = soak_poison.message(self._count, self._poison)
                partition = self._count % self._partitions
                try:
                    self._producer.produce(self._topic, each.value, each.key, partition, timestamp=each.timestamp)
                    self._count += 1
                except BufferError:
                    self._producer.poll(TICK_SECONDS)
            self._producer.poll(0)


class Counter:
    """Counts the committed outputs of each input message, by its headers.

    Args:
        servers: of the broker.
        topic: of the outputs.
        partitions: of the input and of the output.
    """

    def __init__(self, servers: str, topic: str, partitions: int):
        import confluent_kafka as kafka

        config: dict[str, Any] = {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "log_level": 0}
        config |= {"isolation.level": "read_committed", "enable.auto.commit": False, "enable.partition.eof": True}
        self._consumer = kafka.Consumer(config)
        self._consumer.assign([kafka.TopicPartition(topic, part, 0) for part in range(partitions)])
        self._partitions = partitions
        self._counts = [np.zeros(1 << 16, np.uint16) for _ in range(partitions)]
        self._highest = np.full(partitions, -1)
        self._distinct = 0
        self._ending = threading.Event()
        self._to_end = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="soak-counter", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def highest(self) -> np.ndarray:
        """The highest offset of each input partition that has an output; -1 for none."""
        return self._highest.copy()

    def distinct(self) -> int:
        """Messages that have an output."""
        return self._distinct

    def check(self) -> None:
        """Raise if it could not go on."""
        if self._failure:
            raise ProgramFailed(self._failure)

    def stop(self, to_end: bool = False) -> None:
        """Count no more; with `to_end` when all there is has been counted."""
        self._to_end = to_end
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
            self._consumer.close()
        self.check()

    def counts(self, ends: np.ndarray) -> list[np.ndarray]:
        """For each partition of the input how often each of its offsets was seen; `ends` is where each ends.

        Raises:
            ProgramFailed: some were seen that were never sent.
        """
        found = []
        for counts, end in zip(self._counts, ends.tolist(), strict=True):
            if counts[end:].any():
                raise ProgramFailed("there are outputs of messages that were never sent")
            known = np.zeros(end, np.int64)
            known[: len(counts)] = counts[:end]
            found.append(known)
        return found

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # told to who waits for it
            self._failure = f"the outputs cannot be counted: {type(error).__name__}: {error}"

    def _read(self) -> None:
        import confluent_kafka as kafka

        ended: set[int] = set()
        deadline = None
        while not self._ending.is_set() or (self._to_end and len(ended) < self._partitions):
            if self._ending.is_set():
                deadline = deadline or time.monotonic() + PATIENCE_SECONDS
                if time.monotonic() > deadline:
                    raise TimeoutError("the end of the topic is not read")
            for message in self._consumer.consume(1000, 0.1):
                error, headers, partition = message.error(), message.headers(), message.partition()
                assert partition is not None, "messages and ends of partitions have one"
                if error is None:
                    assert headers is not None, "score tells the input of each output"
                    ended.discard(partition)
                    self._note(dict(headers), message.value())
                elif error.code() == kafka.KafkaError._PARTITION_EOF:
                    ended.add(partition)

    def _note(self, headers: dict[str, Any], value: bytes | None) -> None:
        partition, offset = int(headers["input.partition"]), int(headers["input.offset"])
        counts = self._counts[partition]
        if offset >= len(counts):
            grown = np.zeros(max(2 * len(counts), offset + 1), np.uint16)
            grown[: len(counts)] = counts
            self._counts[partition] = counts = grown
        self._distinct += not counts[offset]
        counts[offset] += 1
        self._highest[partition] = max(self._highest[partition], offset)


class ErrorsCounter(Counter):
    """Counts the errors of each input message, those aside that retention took: they have one for many."""

    def __init__(self, servers: str, topic: str, partitions: int):
        super().__init__(servers, topic, partitions)
        self.gone: list[set[int]] = [set() for _ in range(partitions)]
        """For each partition the offsets that were told to be gone."""

    def _note(self, headers: dict[str, Any], value: bytes | None) -> None:
        told = json.loads(value or b"{}")
        if "last_offset" in told:
            self.gone[told["partition"]].update(range(told["offset"], told["last_offset"] + 1))
        else:
            super()._note(headers, value)


def committed(servers: str, group: str, topic: str) -> np.ndarray:
    """For each partition the offset that the group goes on from."""
    import confluent_kafka as kafka

    consumer = kafka.Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    try:
        parts = sorted(consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic].partitions)
        found = consumer.committed([kafka.TopicPartition(topic, part) for part in parts], timeout=PATIENCE_SECONDS)
    finally:
        consumer.close()
    return np.array([max(0, position.offset) for position in found])


def delete_below(servers: str, topic: str, offsets: np.ndarray) -> None:
    """Have the broker drop the messages below an offset of each partition, as its retention does."""
    import confluent_kafka as kafka
    from confluent_kafka.admin import AdminClient

    positions = [kafka.TopicPartition(topic, part, offset) for part, offset in enumerate(offsets.tolist())]
    admin = AdminClient({"bootstrap.servers": servers})  # without a name it would be gone before it has an answer
    for done in admin.delete_records(positions).values():
        done.result(PATIENCE_SECONDS)
