"""Where a stream begins, partition by partition, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beamsplit.transforms.kafka.clients import make_consumer, partitions_of, require_client
from beamsplit.transforms.kafka.offsets import ANSWER_SECONDS, Group, first_offsets, patiently

MOST_LISTED = 8
"""Partitions whose offsets are told one by one."""


@dataclass(frozen=True)
class Begin:
    """Where one partition begins."""

    partition: int
    offset: int
    committed: bool
    """Whether the group has come so far; else it has no offset there."""


def find_begins(group: Group, start: str | int) -> list[Begin]:
    """Where the partitions of the group's topic begin.

    Args:
        group: whose offsets count.
        start: where those begin that it has none for, as `first_offsets` has it.

    Raises:
        KafkaException: the broker does not answer, or refuses.
    """
    kafka = require_client()
    consumer = make_consumer(group.config, group_id=group.name, isolation_level="read_uncommitted")
    try:
        partitions = patiently(lambda: partitions_of(consumer, group.topic, ANSWER_SECONDS), consumer, group.topic)
        asked = [kafka.TopicPartition(group.topic, partition) for partition in partitions or []]
        told = patiently(lambda: consumer.committed(asked, timeout=ANSWER_SECONDS), consumer, group.topic)
        known = {one.partition: one.offset for one in told if one.offset >= 0}
        found = first_offsets(consumer, group.topic, partitions or [], known, start)
        return [Begin(partition, found[partition], partition in known) for partition in sorted(found)]
    finally:
        consumer.close()


def describe_begins(begins: Sequence[Begin], start: str | int) -> str:
    """In words; `start` is where those begin that the group has no offset for.

    >>> describe_begins([Begin(0, 120, True), Begin(1, 0, False)], "committed")
    'partition 0 at offset 120, 1 at 0 (earliest)'
    >>> describe_begins([Begin(each, each, each < 3) for each in range(64)], "latest")
    '64 partitions: 3 where the group is, 61 at their latest'
    """
    new = f"messages of {start} ms" if isinstance(start, int) else "earliest" if start == "committed" else start
    if len(begins) <= MOST_LISTED:
        told = [f"{one.partition} at {one.offset}{'' if one.committed else f' ({new})'}" for one in begins]
        first, *others = told or ["none"]
        return ", ".join([f"partition {first.replace(' at ', ' at offset ', 1)}", *others])
    known = sum(one.committed for one in begins)
    parts = [f"{known} where the group is"] if known else []
    if known < len(begins):
        parts.append(f"{len(begins) - known} at their {new}")
    return f"{len(begins)} partitions: {', '.join(parts)}"
