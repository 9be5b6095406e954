"""Topics of the command without a broker."""

from __future__ import annotations

import json

import pytest

kafka = pytest.importorskip("confluent_kafka")


class Broker:
    """A broker whose topics are there, with four partitions, as soon as they are named."""

    def __init__(self) -> None:
        self._producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
        (self._broker,) = self._producer.list_topics(timeout=60).brokers.values()

    def uri(self, topic: str = "in") -> str:
        return f"kafka://{self._broker.host}:{self._broker.port}/{topic}"

    def send(self, *values: object, topic: str = "in", partition: int = 0) -> None:
        """JSON, or bytes as they are."""
        for value in values:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self._producer.produce(topic, data, partition=partition)
        assert self._producer.flush(60) == 0
