"""The messages that a topic holds now, read in this process: for short topics, as those of errors are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.blocks import VALUE
from beamsplit.transforms.kafka.clients import ClientErrors, check_topic, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.gaps import GapFoundError
from beamsplit.transforms.kafka.ranges import OffsetRange, find_spans, open_ranges, read_range


def values_of(config: ClientConfig, topic: Topic, option: str) -> Iterator[Any]:
    """The values of all messages, partition after partition.

    Raises:
        UsageError: the topic cannot be read.
    """
    partitions = check_topic(config, topic, option)
    errors = ClientErrors()
    consumer = None
    try:
        spans, _ = find_spans(config, topic, partitions, None, "earliest")
        consumer = open_ranges(config, errors)
        for partition, (begin, end) in sorted(spans.items()):
            for block in read_range(consumer, topic.name, OffsetRange(partition, begin, end), errors, "continue"):
                yield from block.column(VALUE).to_pylist()
    except (require_client().KafkaException, RuntimeError, GapFoundError) as error:
        raise UsageError(f"{option} {topic} cannot be read: {error}") from error
    finally:
        if consumer is not None:
            consumer.close()
