"""The consumer of a stream's reader."""

from __future__ import annotations

from typing import Any

from beamsplit.transforms.kafka.clients import ANSWER_MS, ClientErrors, make_consumer
from beamsplit.transforms.kafka.config import ClientConfig

FETCH_BACKOFF_MS = 10
"""How long the client stops fetching once it holds enough: its default of a second is more than what it holds lasts."""


def reading_consumer(
    config: ClientConfig, group: str, errors: ClientErrors, latency_seconds: float, until_end: bool, transactional: bool
) -> Any:
    """A consumer that is assigned partitions by hand.

    Args:
        config: how to get in.
        group: whose offsets it asks for and commits.
        errors: what it is told goes there.
        latency_seconds: how long a broker may keep a message back to send more with it.
        until_end: whether it tells of the end of a partition.
        transactional: whether transactions wait for its answers.

    Raises:
        UsageError: a client property is unknown or has a wrong value.
    """
    return make_consumer(
        config,
        errors,
        group_id=group,
        # Else the client goes on somewhere else without a word, where messages are gone.
        auto_offset_reset="error",
        enable_partition_eof=until_end,
        enable_auto_offset_store=False,
        fetch_wait_max_ms=max(1, min(500, round(latency_seconds * 1000))),
        fetch_queue_backoff_ms=FETCH_BACKOFF_MS,
        allow_auto_create_topics=False,
        **({"socket_timeout_ms": ANSWER_MS} if transactional else {}),
    )
