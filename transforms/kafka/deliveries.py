"""Sends messages to topics, and tells which of them a broker will not take and which were not delivered.

A broker takes a batch or refuses it, and often does not tell for which of its messages. What was refused, and is not
refused by the topic's settings, is sent again, each message in a batch of its own:

    refused   [ . . x . ]
    again     [ . ] [ . ] [ x ] [ . ]        x is at fault
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat
from operator import length_hint
from typing import Any, NamedTuple

from beamsplit.transforms.kafka.clients import ANSWER_MS, ClientErrors, make_producer, partitions_of, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.limits import CLIENTS_MOST, batch_bytes, known_limits
from beamsplit.transforms.kafka.outgoing import Messages, Refusal

FLUSH_SECONDS = 150.0
"""How long a bundle waits for its messages: longer than `delivery.timeout.ms`, so that each has its report."""

LOOK_SECONDS = 2.0
"""While messages are not delivered, it is looked so often whether their topic is still there."""

LOST_SECONDS = 0.1
"""Once a message of a transaction is refused, reports of others are waited for so long: they may be refused too."""

GONE_LOOKS = 5
"""A topic that was missing so often, one look after the other, is gone: a broker that just started may not know it."""

DELIVERY_MS = 120_000
"""After this the producer gives a message up: a broker may be away so long."""

TRANSACTION_MS = 180_000
"""After this the broker aborts a transaction that was left open: longer than `DELIVERY_MS`, and shorter than the 15
minutes that brokers allow unless told otherwise."""

IDLE_MS = 5_000
"""After this a transactional producer closes a connection that nobody uses.

Where a broker goes away and comes back, librdkafka may wait without end in `send_offsets_to_transaction`, whatever time
it is given: it looks again only when some connection opens or closes (its issues 5456 and 5511). This makes one close.
"""

BATCH_BYTES = 1_000_000
"""Bytes of a batch that librdkafka puts together unless `batch.size` says otherwise."""


FRESH_SECONDS = 1.0
"""When a broker has refused a message, settings older than this are read again."""


def refusals() -> frozenset[int]:
    """The broker's codes for a message that it will never take."""
    codes = require_client().KafkaError
    named = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE", "INVALID_TIMESTAMP", "INVALID_RECORD")
    return frozenset(getattr(codes, name) for name in (*named, "UNSUPPORTED_FOR_MESSAGE_FORMAT", "POLICY_VIOLATION"))


class _Refused(NamedTuple):
    """What a broker said of a message."""

    messages: Messages
    row: int | None
    """None where only value and key tell which it is."""

    value: bytes
    key: bytes | None
    code: int
    reason: str


@dataclass
class Deliveries:
    """Messages on their way to a topic."""

    config: ClientConfig
    topic: Topic
    transactional_id: str | None = None
    """Of a producer whose messages count when their transaction is committed; None has no transactions."""

    option: str = "--output"
    """What names the topic."""

    errors_topic: Topic | None = None
    """Where errors are sent beside."""

    alone: bool = False
    """Send each message in a batch of its own."""

    errors: ClientErrors = field(default_factory=ClientErrors)
    """What the client was told."""

    def __post_init__(self) -> None:
        kafka = require_client()
        self._refusals = refusals()
        self._for_another = kafka.KafkaError._INVALID_DIFFERENT_RECORD
        self._failed: list[tuple[str, str]] = []  # topic, reason
        self._refused: list[_Refused] = []
        self._looked, self._gone = 0.0, 0
        topics = [self.topic, *([self.errors_topic] if self.errors_topic is not None else [])]
        self._limits = {topic.name: known_limits(self.config, topic) for topic in topics}
        given = self.config.client()
        self._compressed = str(given.get("compression.type", given.get("compression.codec", "none"))) != "none"
        self._most = int(str(given.get("message.max.bytes", CLIENTS_MOST)))
        self._most_of_batch = int(str(given.get("batch.size", BATCH_BYTES)))
        self.producer = self._make()
        """The client itself."""

    def _batch_bytes(self) -> int:
        """A batch that is larger than a topic takes is refused whole, whatever is in it."""
        known = [limits.now().bytes for limits in self._limits.values()]
        return max(1, min([self._most_of_batch, *(size for size in known if size is not None)]))

    def _make(self) -> Any:
        transactions = {
            "transactional_id": self.transactional_id,
            "transaction_timeout_ms": TRANSACTION_MS,
            "connections_max_idle_ms": IDLE_MS,
            "socket_timeout_ms": ANSWER_MS,
        }
        self._made_with = self._batch_bytes()
        return make_producer(
            self.config,
            self.errors,
            partitioner="murmur2_random",
            delivery_timeout_ms=DELIVERY_MS,
            # Python is called for failures only: a call a message would cost as much as the rest.
            delivery_report_only_error=True,
            queue_buffering_max_messages=1_000_000,
            batch_size=self._made_with,
            **({"batch_num_messages": 1} if self.alone else {}),
            **(transactions if self.transactional_id else {}),
        )

    def refused(self, messages: Messages) -> dict[int, str]:
        """Position of each message that its topic will not take, by the topic's settings, and why."""
        return self._limits[(messages.topic or self.topic).name].refused(messages, self._compressed)

    def room(self, topic: Topic) -> int | None:
        """Bytes that a message of this topic may have at most; None where that is not known."""
        return self._limits[topic.name].now().bytes

    def send(self, messages: Messages) -> list[Refusal]:
        """Hand messages to the producer, for their topic; waits where its queue is full.

        Returns:
            Those that the client itself will not take; the others are on their way.

        Raises:
            JobEndsError: the topic is gone.
        """
        values, refused = iter(messages.values), list[Refusal]()
        calls = self._calls(messages, values)
        while True:
            try:
                deque(calls, maxlen=0)
                break
            except (BufferError, require_client().KafkaException) as error:
                row = len(messages.values) - length_hint(values) - 1
                found = self._again(messages, row, error)
                refused += [] if found is None else [found]
        self.producer.poll(0)
        return refused

    def _calls(self, messages: Messages, values: Iterator[bytes]) -> Iterator[None]:
        """A call of the producer for each message, whose values `values` are, made when it is asked for."""
        # A report a message would cost a fifth more; those of a block are told apart by value and key.
        reports: Iterator[Any] = repeat(partial(self._report, messages, None))
        if self.alone:
            reports = (partial(self._report, messages, row) for row in count())
        times = messages.times
        if times and min(times) < 0:
            times = [max(time, 0) for time in times]
        name, produce = (messages.topic or self.topic).name, self.producer.produce
        # By position, and without a frame of Python a message: else it costs half as much again. -1 is any partition.
        return map(
            produce, repeat(name), values, messages.keys, repeat(-1), reports, repeat(None), times, messages.headers
        )

    def _again(self, messages: Messages, row: int, error: Exception) -> Refusal | None:
        """Hand over a message that the client has not taken, once there is room; or why it never will be taken."""
        value, key, headers, sent = messages.one(row)
        name, report = (messages.topic or self.topic).name, partial(self._report, messages, row if self.alone else None)
        kafka = require_client()
        while True:
            if not isinstance(error, BufferError):
                if error.args[0].code() != kafka.KafkaError.MSG_SIZE_TOO_LARGE:
                    raise error
                return Refusal(messages, row, self._too_large_for_client(batch_bytes(value, key, headers)))
            self.producer.poll(0.1)
            self._look()
            try:
                self.producer.produce(name, value, key, -1, report, None, max(sent, 0), headers)
                return None
            except (BufferError, kafka.KafkaException) as again:
                error = again

    def check(self) -> list[Refusal]:
        """Wait until all messages are with the brokers, but for those that they will not take.

        Messages that were refused for another of their batch are sent again.

        Returns:
            Those that are refused, each with the reason.

        Raises:
            RuntimeError: some others are not delivered.
            JobEndsError: the topic is gone.
        """
        self.flush()
        refused = []
        while self._refused:
            found, suspects = self.explain(self.take_refused())
            refused += [*found, *self._one_by_one(suspects)]
            if self._batch_bytes() < self._made_with:
                # A topic takes less than before.
                self.abandon()
                self.producer = self._make()
        return refused

    def flush(self) -> None:
        """Wait until each message is with the brokers, or was refused; of a transaction, until any was.

        Raises:
            RuntimeError: some are not.
            JobEndsError: the topic is gone.
        """
        deadline = time.monotonic() + FLUSH_SECONDS
        self._gone, self._looked = 0, time.monotonic()
        each = LOOK_SECONDS if self.transactional_id is None else LOST_SECONDS
        while True:
            refused = self.any_refused
            left = self.producer.flush(min(each, max(0.0, deadline - time.monotonic())))
            if refused and self.transactional_id is not None:
                return  # what is left may wait until it is given up, and is made again in any case
            failed = self._lost()
            if not left or failed or self.errors.fatal or time.monotonic() >= deadline:
                break
            self._look()
        if left or failed or self.errors.fatal:
            reason = self.errors.fatal or (failed[0][1] if failed else self.errors.reason())
            self._look(at_once=True)
            count = left + len(failed)
            raise RuntimeError(f"{self._where(failed)}: {count} messages were not delivered: {reason}")

    def _lost(self) -> list[tuple[str, str]]:
        """Topic and reason of each message that was not delivered, and not refused."""
        if self._refused and self.transactional_id is not None:
            return []  # its transaction is made again whole, with what it has lost
        return self._failed

    @property
    def any_refused(self) -> bool:
        """Whether brokers have refused any since `take_refused`."""
        return bool(self._refused)

    def take_refused(self) -> list[Refusal]:
        """Forget, and give, what brokers have refused so far.

        Equal messages of one block are not told apart: where one of them was refused, all are given.
        """
        told, self._refused = self._refused, []
        rows: dict[tuple[int, int], tuple[Messages, int, str]] = {}  # id of messages, row -> code, reason
        alike: dict[tuple[int, bytes, bytes | None], _Refused] = {}
        for one in told:
            place = id(one.messages), one.value, one.key
            if one.row is not None:
                rows[id(one.messages), one.row] = (one.messages, one.code, one.reason)
            elif place not in alike or alike[place].code == self._for_another:
                alike[place] = one
        for messages in {id(one.messages): one.messages for one in alike.values()}.values():
            for row, (value, key) in enumerate(zip(messages.values, messages.keys, strict=True)):
                if (found := alike.get((id(messages), value or b"", key or None))) is not None:
                    rows[id(messages), row] = (messages, found.code, found.reason)
        return [
            Refusal(messages, row, self._why(messages, reason), code in self._refusals)
            for (_, row), (messages, code, reason) in rows.items()
        ]

    def _why(self, messages: Messages, reason: str) -> str:
        return f"topic {(messages.topic or self.topic).name!r} refuses it: {reason}"

    def explain(self, suspects: Sequence[Refusal]) -> tuple[list[Refusal], list[Refusal]]:
        """(those that the topic's settings, as they are now, refuse, with the reason; the others)."""
        by_block: dict[int, list[Refusal]] = {}
        for one in suspects:
            by_block.setdefault(id(one.messages), []).append(one)
        found, left = [], []
        for many in by_block.values():
            messages = many[0].messages
            limits = self._limits[(messages.topic or self.topic).name]
            limits.refresh(FRESH_SECONDS)
            why = limits.refused(messages.take([one.row for one in many]), self._compressed)
            for at, one in enumerate(many):
                if one.accused and at in why:
                    found.append(one._replace(reason=why[at]))
                else:
                    left.append(one)
        return found, left

    def _one_by_one(self, suspects: Sequence[Refusal]) -> list[Refusal]:
        """Send messages again, each in a batch of its own; those that are refused so."""
        if not suspects:
            return []
        again = Deliveries(self.config, self.topic, option=self.option, errors_topic=self.errors_topic, alone=True)
        by_block: dict[int, list[Refusal]] = {}
        for one in suspects:
            by_block.setdefault(id(one.messages), []).append(one)
        sent = {}
        try:
            for many in by_block.values():
                part = many[0].messages.take([one.row for one in many])
                sent[id(part)] = (part, many)
                again.send(part)
            again.flush()
            refused = again.take_refused()
        finally:
            again.abandon()
        return [sent[id(one.messages)][1][one.row]._replace(reason=one.reason, accused=True) for one in refused]

    def abandon(self) -> None:
        """Drop what waits."""
        self.producer.purge()
        self.producer.flush(1)

    def _report(self, messages: Messages, row: int | None, error: Any, message: Any) -> None:
        """What became of one of these messages; called for failures only."""
        if error is None:
            return
        code = error.code()
        if code in self._refusals or code == self._for_another:
            value, key = message.value() or b"", message.key() or None
            self._refused.append(_Refused(messages, row, value, key, code, error.str()))
        else:
            self._failed.append((message.topic(), error.str()))

    def _too_large_for_client(self, size: int) -> str:
        return (
            f"the message is {size:,} bytes, and the client takes {self._most:,}; set "
            "message.max.bytes in --kafka_config, and max.message.bytes of the topic"
        )

    def _where(self, lost: Sequence[tuple[str, str]]) -> str:
        """The topics whose messages failed, by their options; all where the client told of none."""
        known = {topic.name: told for topic, told in self._options()}
        failed = dict.fromkeys(name for name, _ in lost)
        return ", ".join(known[name] for name in failed or known)

    def _options(self) -> list[tuple[Topic, str]]:
        """Each topic, and the option that names it."""
        named = [(self.topic, self.option), *([(self.errors_topic, "--errors")] if self.errors_topic else [])]
        return [(topic, f"{option} {topic}") for topic, option in named]

    def _look(self, at_once: bool = False) -> None:
        """End the job if a topic was deleted: nothing that is sent there arrives."""
        if time.monotonic() - self._looked < LOOK_SECONDS and not at_once:
            return
        self._looked = time.monotonic()
        try:
            gone = [one for one in self._options() if partitions_of(self.producer, one[0].name, LOOK_SECONDS) is None]
        except require_client().KafkaException:  # the broker is away
            gone = []
        self._gone = self._gone + 1 if gone else 0
        if self._gone >= GONE_LOOKS or (gone and at_once):
            topic, told = gone[0]
            raise JobEndsError(
                f"{told}: the topic was deleted while the job ran, and is not made anew by itself; create it (e.g. "
                f"kafka-topics.sh --create --bootstrap-server {topic.servers} --topic {topic.name} --partitions 4) and "
                "start again"
            )
