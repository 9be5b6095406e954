"""A consumer of a log in memory: what the tests of reading share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import confluent_kafka as kafka


class Message:
    """As confluent_kafka's, with what a block is made of."""

    def __init__(self, offset: int, error: Any = None, partition: int = 0, value: bytes = b"v"):
        self._offset, self._error, self._partition, self._value = offset, error, partition, value

    def error(self) -> Any:
        return self._error

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)

    def key(self) -> bytes | None:
        return None

    def headers(self) -> None:
        return None

    def value(self) -> bytes:
        return self._value


def failure(code: int, offset: int = -1, partition: int = 0) -> Message:
    """What comes in place of a message."""
    return Message(offset, kafka.KafkaError(code), partition)


class LogConsumer:
    """Reads one partition of a log as the client does: an error where it begins outside of it, then nothing more.

    Args:
        offsets: of the messages.
        low: the log's first offset.
        high: its end; behind the last message there may be marks of transactions.
        group: how far its group has done it; -1001 where it has no offset.
        eof: whether it tells of the end.
    """

    def __init__(
        self, offsets: Sequence[int], low: int = 0, high: int | None = None, group: int = -1001, eof: bool = True
    ):
        self.offsets, self.low, self.group, self.eof = list(offsets), low, group, eof
        self.high = high if high is not None else self.offsets[-1] + 1
        self.asked: list[int] = []
        """Where it was told to begin."""

        self.then: list[Callable[[], None]] = []
        """What happens before each of the next calls."""

        self.extra: list[Message] = []
        """Comes with the next call."""

        self.topics: list[int] | None = [0]
        self._at: int | None = None

    def assign(self, positions: Sequence[Any]) -> None:
        self._at = positions[0].offset
        self.asked.append(positions[0].offset)

    incremental_assign = assign

    def incremental_unassign(self, positions: Sequence[Any]) -> None:
        self._at = None

    def unassign(self) -> None:
        self._at = None

    def consume(self, most: int, timeout: float) -> list[Message]:
        if self.then:
            self.then.pop(0)()
        extra, self.extra = self.extra, []
        if extra or self._at is None:
            return extra
        if not self.low <= self._at <= self.high:
            at, self._at = self._at, None
            return [failure(kafka.KafkaError._AUTO_OFFSET_RESET, at)]
        taken = [offset for offset in self.offsets if offset >= max(self._at, self.low)][:most]
        self._at = taken[-1] + 1 if taken else self.high
        found = [Message(offset) for offset in taken]
        return found or ([failure(kafka.KafkaError._PARTITION_EOF, self.high)] if self.eof else [])

    def position(self, asked: Sequence[Any]) -> list[Any]:
        return [kafka.TopicPartition("in", 0, -1001 if self._at is None else self._at)]

    def committed(self, asked: Sequence[Any], timeout: float) -> list[Any]:
        return [kafka.TopicPartition("in", 0, self.group)]

    def close(self) -> None:
        self._at = None

    def get_watermark_offsets(self, position: Any, timeout: float = 0, cached: bool = False) -> tuple[int, int]:
        return self.low, self.high

    def list_topics(self, topic: str, timeout: float) -> Any:
        from types import SimpleNamespace as Found

        error = kafka.KafkaError(kafka.KafkaError.UNKNOWN_TOPIC_OR_PART) if self.topics is None else None
        return Found(topics={topic: Found(error=error, partitions=dict.fromkeys(self.topics or []))})
