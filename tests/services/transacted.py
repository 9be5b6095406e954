"""Topics of a broker for transactions."""

from __future__ import annotations

import uuid

import pyarrow as pa

from beamsplit.runners.local import KafkaBroker
from beamsplit.transforms.kafka.blocks import block_of, with_ranges
from beamsplit.transforms.kafka.clients import make_consumer, make_producer
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.offsets import Group, committed_end
from beamsplit.transforms.kafka.transactions import Transactions
from tests.services.streams import read_topic
from tests.transforms.kafka.fake_message import FakeMessage
from tests.waiting import DEADLINE


class Topics:
    """Topics of one test, and a group."""

    def __init__(self, broker: KafkaBroker):
        name = uuid.uuid4().hex[:8]
        self.broker = broker
        config = ClientConfig(broker.address)
        self.output = Topic(broker.address, broker.create_topic(f"out-{name}"))
        self.errors = Topic(broker.address, broker.create_topic(f"errors-{name}"))
        self.group = Group(config, broker.create_topic(f"in-{name}", partitions=2), f"g-{name}", commits=False)
        self.consumer = make_consumer(config, group_id=self.group.name, isolation_level="read_committed")

    def open(self, partition: int = 0) -> Transactions:
        return Transactions(self.group, partition, self.output, self.consumer)

    def committed(self, partition: int = 0) -> int | None:
        return committed_end(self.consumer, self.group.topic, partition)

    def values(self, topic: Topic | None = None) -> list[bytes]:
        """What a reader of committed messages sees."""
        return [message.value() for message in read_topic(self.broker, (topic or self.output).name)]

    def feed(self, partition: int, messages: int) -> None:
        """Put messages into the input."""
        producer = make_producer(self.group.config)
        for _ in range(messages):
            producer.produce(self.group.topic, b"m", partition=partition)
        assert producer.flush(DEADLINE) == 0

    def block(self, partition: int, begin: int, end: int, values: list[bytes]) -> pa.RecordBatch:
        """Messages from `begin` on that stand for all offsets to before `end`."""
        messages = [FakeMessage(value, partition, begin + i, None, None, 1) for i, value in enumerate(values)]
        return with_ranges(block_of(messages, self.group.topic), {partition: (begin, end)})
