"""A plain loop of confluent-kafka and ONNX Runtime, at least once: consume, run, produce; now and then commit."""

from __future__ import annotations

import time
from collections.abc import Mapping

import confluent_kafka

from benchmarks.alternatives.stream_common import Model, StreamJob, parse

COMMIT_SECONDS = 5.0
"""Between two commits: the client's own default."""


def run(job: StreamJob, settings: Mapping[str, object], tuned: bool = False) -> None:
    """Until the process is ended; `settings` are more of the consumer's properties, `tuned` is as of `Model`."""
    model = Model(job, tuned)
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": job.servers,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **settings,
        }
    )
    producer = confluent_kafka.Producer({"bootstrap.servers": job.servers, "queue.buffering.max.messages": 1_000_000})
    consumer.subscribe([job.input])
    committed, uncommitted = time.monotonic(), False
    while True:
        messages = consumer.consume(job.batch, job.wait_seconds)
        for message in messages:
            if message.error() is not None:
                raise confluent_kafka.KafkaException(message.error())
        if messages:
            scored = model.score([message.value() for message in messages])
            for message, value in zip(messages, scored, strict=True):
                producer.produce(job.output, value, message.key())
            producer.poll(0)
            uncommitted = True
        if uncommitted and time.monotonic() - committed >= COMMIT_SECONDS:
            if producer.flush():
                raise RuntimeError("some predictions were not delivered")
            consumer.commit(asynchronous=True)
            committed, uncommitted = time.monotonic(), False


if __name__ == "__main__":
    run(parse(), {})
