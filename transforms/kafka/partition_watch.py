"""Finds partitions that are added to a topic while it is read."""

from __future__ import annotations

import threading
from typing import Any

from beamsplit.transforms.kafka.clients import partitions_of, require_client


class PartitionWatch:
    """Asks for the topic's partitions now and then, on a thread: the question takes a turn to the broker.

    Args:
        consumer: that asks.
        topic: the topic.
        seconds: between two looks.
    """

    def __init__(self, consumer: Any, topic: str, seconds: float):
        self.found: list[int] = []
        """Those that were there at the last look; empty before the first."""

        self._consumer, self._topic, self._seconds = consumer, topic, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="kafka-partitions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        kafka = require_client()
        while not self._stop.wait(self._seconds):
            try:
                self.found = partitions_of(self._consumer, self._topic, 5.0) or []
            except kafka.KafkaException:
                continue  # The broker is away; the reader itself finds out if it stays away.
