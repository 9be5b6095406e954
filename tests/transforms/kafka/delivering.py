"""What brokers answer to messages, and messages that they refuse."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.outgoing import Messages
from tests.transforms.kafka.brokers import kafka
from tests.transforms.kafka.fake_message import FakeMessage

HERE = "127.0.0.1:1"
OUT = Topic(HERE, "out")
TOO_LARGE, BAD_TIME, BAD_RECORD = (
    kafka.KafkaError.MSG_SIZE_TOO_LARGE,
    kafka.KafkaError.INVALID_TIMESTAMP,
    kafka.KafkaError.INVALID_RECORD,
)


def messages(*values: bytes, keys: list[bytes | None] | None = None, times: list[int] | None = None) -> Messages:
    """Messages of offsets 0, 1, ... of a partition."""
    rows = len(values)
    block = block_of([FakeMessage(b"", 0, offset, None, None, 1) for offset in range(rows)], "in")
    return Messages(values, keys or [None] * rows, [[]] * rows, times or [1] * rows, block=block)


def poison(code: int, *values: bytes) -> Any:
    """A broker's verdict: refuses these."""
    return lambda topic, value, key, time: code if value in values else None


def predictions(*texts: str) -> pa.RecordBatch:
    """A block of outputs `y`, of offsets 0, 1, ... of a partition."""
    block = block_of([FakeMessage(b"", 0, offset, None, None, 1) for offset in range(len(texts))], "in")
    return block.set_column(0, "y", pa.array(texts))
