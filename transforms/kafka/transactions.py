"""Transactions of one input partition: outputs and the end of the offsets they were made of, both or neither.

    one transaction      outputs of [begin, end), errors of [begin, end), "the group has done all below end"

Whoever opens the transactions of a partition ends those of whoever had them before (`init_transactions`), and only then
asks how far the group is. What is below that was written by the one before, so it is dropped; what is above was not.
A runner may replay as it likes: it costs reading again, and doubles nothing.
Source: KIP-98 (transactions), KIP-447 (offsets of a group in a producer's transaction).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.clients import may_pass, require_client
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.delivered import tell_delivered
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.errors import error_headers, error_json, error_line, error_messages, shorten
from beamsplit.transforms.kafka.errors_file import ErrorsFile, PendingErrors
from beamsplit.transforms.kafka.limits import known_limits
from beamsplit.transforms.kafka.offsets import (
    PATIENCE_SECONDS,
    Group,
    committed_end,
    committed_metadata,
)
from beamsplit.transforms.kafka.outgoing import Messages, Refusal

AT_ONCE = 16
"""Partitions whose transactions are opened or committed at the same time: each waits for the broker several times."""

CALL_SECONDS = 30.0
"""How long one call of a transaction may take before it is asked again."""

AGAIN_SECONDS = 0.05
"""Between two tries of a call."""

ABORT_SECONDS = 5.0
"""How long an abort may take: if it does not come, whoever opens next ends the transaction."""


def transactional_id(group: Group, partition: int) -> str:
    """The name under which a broker knows the transactions of one partition: the same wherever it is read.

    >>> from beamsplit.transforms.kafka.config import ClientConfig
    >>> transactional_id(Group(ClientConfig("b:9092"), "in", "g"), 3)
    'beamsplit/g/in/3'
    """
    return f"beamsplit/{group.name}/{group.topic}/{partition}"


class Transactions:
    """Opens the transactions of a partition, which ends those of an earlier owner.

    Args:
        group: keeps how far the partition is done.
        partition: of the group's topic.
        output: where messages go unless told otherwise.
        consumer: of the group, for questions to the broker.
        errors: where errors go: in the same transactions, or a file in which a transaction's are once it is committed;
            None where they go elsewhere.

    Raises:
        RuntimeError: the broker does not answer, or refuses.
    """

    def __init__(
        self, group: Group, partition: int, output: Topic, consumer: Any, errors: Topic | ErrorsFile | None = None
    ):
        self.bundle: object = None
        """Whose outputs the open transaction holds; None while none is open."""

        self._group, self._partition, self._consumer = group, partition, consumer
        self._errors = errors if isinstance(errors, Topic) else None
        self._pending = PendingErrors(errors, group, partition) if isinstance(errors, ErrorsFile) else None
        self._metadata = consumer.consumer_group_metadata()
        # What the open transaction holds, and positions that it does not: to be sent again without some more.
        self._sent: list[tuple[Messages, set[int]]] = []
        self._failed: list[RowError] = []
        self._alone_is_over = False
        self._deliveries = Deliveries(
            group.config, output, transactional_id(group, partition), errors_topic=self._errors
        )
        try:
            self._retry(self._deliveries.producer.init_transactions, CALL_SECONDS)
            self._committed = committed_end(consumer, group.topic, partition)
            self.end = self._committed
            """Offsets below are done or admitted; None where the group has none yet."""
            if self._pending is not None:
                self._pending.recover(lambda: committed_metadata(consumer, group.topic, partition))
        except BaseException:
            self.close()
            raise

    def admit(self, begin: int, end: int) -> int:
        """The first offset from `begin` to before `end` that is not done yet; those up to `end` are then taken as done.

        Their outputs belong into the next transaction that is opened, or into the one that is open.

        Raises:
            RuntimeError: messages before `begin` were never seen.
        """
        first = begin if self.end is None else self.end
        if begin > first:
            raise RuntimeError(
                f"{self._group.topic}/{self._partition}: group {self._group.name} has done what is below {first}, and "
                f"the source goes on at {begin}: its offsets were changed, or the job was restored from a checkpoint "
                "of another group; start without the checkpoint, or set the group's offsets to it"
            )
        self.end = max(first, end)
        return first

    @property
    def unfinished(self) -> bool:
        """Whether offsets were admitted that are not committed."""
        return self.end != self._committed

    def open(self, bundle: object) -> None:
        """Open a transaction unless one is open.

        Raises:
            RuntimeError: another has opened this partition's transactions.
        """
        if self.bundle is None:
            if self._alone_is_over:
                self._reopen(alone=False)
            self._retry(self._deliveries.producer.begin_transaction)
            self.bundle = bundle

    def refused(self, messages: Messages) -> dict[int, str]:
        """See `Deliveries.refused`."""
        return self._deliveries.refused(messages)

    def send(self, messages: Messages) -> None:
        """Put messages into the transaction; those that are refused are known once it is committed.

        Raises:
            RuntimeError: another has opened this partition's transactions.
            JobEndsError: the topic is gone.
        """
        self._sent.append((messages, set()))
        kafka = require_client()
        try:
            refused = self._deliveries.send(messages)
        except kafka.KafkaException as error:
            self._deliveries.producer.poll(0)
            said = error.args[0]
            if self._deliveries.any_refused and (said.code() == kafka.KafkaError._STATE or said.txn_requires_abort()):
                return  # the transaction will be made again
            raise RuntimeError(self._told(said)) from error
        for made in self._leave_out(refused):
            self.send(made)

    def add_errors(self, errors: Sequence[RowError]) -> None:
        """Have the errors file get these, if the transaction that is open is committed."""
        assert self._pending is not None, "errors go elsewhere"
        for error in errors:
            self._pending.add(error_line(error))

    def commit(self, end: int) -> None:
        """Make the outputs that were sent and the end of their offsets valid together.

        A message that the broker will not take ends its transaction: it is made again without that message.

        Args:
            end: of the offsets whose outputs are in the transaction. What was admitted since is none of its.

        Raises:
            RuntimeError: neither is, or (the broker went away in between) whoever opens next finds out which.
            JobEndsError: a topic is gone, or takes not even an error.
        """
        kafka = require_client()
        self._flush()
        while self._deliveries.any_refused:
            self._again_without(self._deliveries.take_refused())
            self._flush()
        kept = self._pending.keep() if self._pending is not None else None
        metadata = () if kept is None else (kept,)
        done = [kafka.TopicPartition(self._group.topic, self._partition, end, *metadata)]
        producer = self._deliveries.producer
        self._retry(producer.send_offsets_to_transaction, done, self._metadata, CALL_SECONDS)
        self._retry(producer.commit_transaction, CALL_SECONDS)
        tell_delivered(self._sent)
        self.bundle, self._committed, self._sent = None, end, []
        self._alone_is_over = self._deliveries.alone
        if self._pending is not None:
            self._pending.publish()

    def take_failed(self) -> list[RowError]:
        """Forget, and give, the errors of messages that were refused; those are in no transaction."""
        failed, self._failed = self._failed, []
        return failed

    def _flush(self) -> None:
        kafka = require_client()
        try:
            self._deliveries.flush()
        except (RuntimeError, SystemError, kafka.KafkaException) as error:
            # A fatal error comes out of the client's own callback, as the cause of a SystemError.
            said = error if isinstance(error, kafka.KafkaException) else error.__cause__
            if not isinstance(said, kafka.KafkaException):
                raise
            raise RuntimeError(self._told(said.args[0])) from error

    def _leave_out(self, culprits: Sequence[Refusal]) -> list[Messages]:
        """Take messages out of those that are sent; what is to be sent in their place.

        Raises:
            JobEndsError: the errors topic takes not even the error of one.
        """
        dropped = {id(messages): rows for messages, rows in self._sent}
        instead = []
        for one in culprits:
            dropped[id(one.messages)].add(one.row)
            if one.messages.block is None:
                assert self._errors is not None, "only errors have no rows"
                instead.append(shorten(one, self._errors))
                continue
            error = one.messages.error(one.row, one.reason)
            self._failed.append(error)
            if self._pending is not None:
                self.add_errors([error])
            if self._errors is not None:
                limits = known_limits(self._group.config, self._errors)
                instead.append(error_messages(error_json(error), error_headers(error), self._errors, limits))
        return instead

    def _again_without(self, suspects: Sequence[Refusal]) -> None:
        """Abort the transaction, and send what it held once more, without the messages at fault.

        Raises:
            RuntimeError: another has taken the partition over meanwhile.
            JobEndsError: a topic is gone, or takes not even an error.
        """
        bundle = self.bundle
        culprits, left = self._deliveries.explain(suspects)
        if not culprits and self._deliveries.alone:
            culprits = [one for one in left if one.accused]
            if not culprits:
                raise RuntimeError(f"{self._where()}: {suspects[0].reason}")
        instead = self._leave_out(culprits)
        again = [messages.without(rows) if rows else messages for messages, rows in self._sent]
        # Which of a batch is at fault is known when each is alone.
        self._reopen(alone=not culprits or self._deliveries.alone)
        self.open(bundle)
        self._sent = []
        for messages in [*again, *instead]:
            self.send(messages)

    def _reopen(self, alone: bool) -> None:
        """Open the transactions of the partition anew.

        A producer whose message was refused goes on with a gap in its numbers (librdkafka), which the broker refuses.
        """
        self.close()
        self._alone_is_over = False
        old = self._deliveries
        self._deliveries = Deliveries(
            old.config, old.topic, old.transactional_id, errors_topic=self._errors, alone=alone
        )
        self._retry(self._deliveries.producer.init_transactions, CALL_SECONDS)
        if committed_end(self._consumer, self._group.topic, self._partition) != self._committed:
            raise RuntimeError(self._taken_over())

    def close(self) -> None:
        """Give up what is not committed, and the producer."""
        # Fenced, or the broker is away: whoever opens next, or the broker, ends the transaction.
        lost = (require_client().KafkaException, SystemError)
        if self.bundle is not None:
            with contextlib.suppress(*lost):
                self._deliveries.producer.abort_transaction(ABORT_SECONDS)
            self.bundle = None
        with contextlib.suppress(*lost):
            self._deliveries.abandon()

    def _retry(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call, again while the client says that it may help."""
        kafka = require_client()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                call(*arguments)
                return
            except kafka.KafkaException as error:
                said = error.args[0]
                lost = said.fatal() or said.txn_requires_abort()
                if not lost and may_pass(said) and time.monotonic() < deadline:
                    time.sleep(AGAIN_SECONDS)
                    continue
                raise RuntimeError(self._told(said)) from error

    def _told(self, error: Any) -> str:
        codes = require_client().KafkaError
        where = self._where()
        if error.code() in (codes._FENCED, codes.PRODUCER_FENCED, codes.INVALID_PRODUCER_EPOCH):
            return self._taken_over()
        if error.code() in (codes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, codes.CLUSTER_AUTHORIZATION_FAILED):
            ids = f"beamsplit/{self._group.name}/{self._group.topic}/"
            return f"{where}: the broker allows no transactions; grant Write on the transactional ids {ids}*"
        return f"{where}: the transaction failed: {self._deliveries.errors.fatal or error.str()}"

    def _where(self) -> str:
        return f"{self._group.topic}/{self._partition}"

    def _taken_over(self) -> str:
        group = self._group.name
        return f"{self._where()}: another worker or run with --group {group} has taken it over and goes on here"
