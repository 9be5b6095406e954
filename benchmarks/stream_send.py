"""Sends numbered messages to a topic, at a steady rate or as fast as it can; a process of its own.

python -m benchmarks.stream_send SERVERS TOPIC PAYLOADS.npy FORMAT MESSAGES [MESSAGES_A_SECOND]
"""

from __future__ import annotations

import struct
import sys
import time
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.stream_values import encode

TICK_SECONDS = 0.001
"""Between two looks at the clock: what is due by then is sent."""


def send(producer: Any, topic: str, values: list[bytes], messages: int, rate: float | None, partitions: int) -> float:
    """Send `messages`, number i to partition i modulo `partitions`; seconds from the first to the last."""
    produce, poll, pack = producer.produce, producer.poll, struct.Struct("<qq").pack
    began = time.perf_counter()
    numbers = iter(range(messages))
    sent = 0
    while sent < messages:
        due = messages if rate is None else min(messages, int((time.perf_counter() - began) * rate) + 1)
        for number in islice(numbers, due - sent):
            while True:
                try:
                    now = time.time_ns() // 1000
                    value = values[number % len(values)]
                    produce(topic, value, pack(number, now), number % partitions, timestamp=now // 1000)
                    break
                except BufferError:
                    poll(0.01)
        sent = due
        poll(0)
        if sent < messages:
            time.sleep(TICK_SECONDS)
    return time.perf_counter() - began


def main(argv: list[str]) -> int:
    """Send, and say how long it took."""
    import confluent_kafka

    servers, topic, inputs, format, messages, *rate = argv
    values = encode(format, np.load(inputs))
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "queue.buffering.max.kbytes": 262_144})
    partitions = len(producer.list_topics(topic, 30).topics[topic].partitions)
    seconds = send(producer, topic, values, int(messages), float(rate[0]) if rate else None, partitions)
    if producer.flush(60):
        raise SystemExit("some messages were not delivered")
    print(seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
