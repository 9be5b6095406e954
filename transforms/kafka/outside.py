"""Errors that come in place of messages, and partitions whose log does not have the offset where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from beamsplit.transforms.kafka.clients import may_pass, require_client, topic_is_gone
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.gaps import Gap, find_gap
from beamsplit.transforms.kafka.offsets import end_offsets


class Outside:
    """The partitions of a topic that are read from outside of their log.

    Args:
        topic: that is read.
        patient: whether a topic that is gone is waited for, as somebody else finds out whether it stays away.
    """

    def __init__(self, topic: Topic, patient: bool):
        self._topic, self._patient = topic, patient
        self._at: dict[int, int] = {}  # partition -> offset that its log does not have

    def __bool__(self) -> bool:
        return bool(self._at)

    def heed(self, message: Any, reached: dict[int, int]) -> None:
        """Take in an error that came in place of a message.

        Args:
            message: that is one, or not.
            reached: partition -> its end, where one comes to it: behind the last message there may be marks of
                transactions.

        Raises:
            RuntimeError: waiting will not mend it.
        """
        codes, error = require_client().KafkaError, message.error()
        if error is None or may_pass(error):
            return
        if error.code() == codes._PARTITION_EOF:
            reached[message.partition()] = message.offset()
        elif error.code() in (codes._AUTO_OFFSET_RESET, codes._LOG_TRUNCATION):
            self._at[message.partition()] = message.offset()
        elif not (self._patient and topic_is_gone(error)):
            raise RuntimeError(f"--input {self._topic}: {error.str()}")

    def find(self, consumer: Any, offsets: Mapping[int, int]) -> Iterator[tuple[int, int, Gap | None]]:
        """Partition, where it is, and what is gone there; None where the log has that offset after all.

        Those of which the brokers do not tell are left for the next time.

        Args:
            consumer: that reads.
            offsets: partition -> offset of the next message.

        Raises:
            RuntimeError: they refuse.
        """
        topic = self._topic.name
        for partition, outside in list(self._at.items()):
            try:
                log = end_offsets(consumer, topic, partition)
            except require_client().KafkaException as error:
                said = error.args[0]
                if may_pass(said) or (self._patient and topic_is_gone(said)):
                    continue
                raise RuntimeError(f"--input {self._topic}: {said.str()}") from error
            del self._at[partition]
            at = max(offsets[partition], outside)
            yield partition, at, find_gap(topic, partition, at, log)


def read_on(consumer: Any, topic: str, partition: int, offset: int) -> None:
    """Read a partition that an error has stopped from another offset on."""
    position = require_client().TopicPartition(topic, partition, offset)
    consumer.incremental_unassign([position])
    consumer.incremental_assign([position])
