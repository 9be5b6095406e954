"""Transactions of one input partition: outputs and the end of the offsets they were made of, both or neither.

    one transaction      outputs of [begin, end), errors of [begin, end), "the group has done all below end"

Whoever opens the transactions of a partition ends those of whoever had them before (`init_transactions`), and only then
asks how far the group is. What is below that was written by the one before, so it is dropped; what is above was not.
A runner may replay as it likes: it costs reading again, and doubles nothing.
Source: KIP-98 (transactions), KIP-447 (offsets of a group in a producer's transaction).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from models.errors import UsageError
from transforms.kafka.clients import ANSWER_MS, make_consumer, may_pass, partitions_of, require_client
from transforms.kafka.config import Topic
from transforms.kafka.offsets import PATIENCE_SECONDS, Group, committed_end, first_offsets
from transforms.kafka.sink import Deliveries, Headers

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

    Raises:
        RuntimeError: the broker does not answer, or refuses.
    """

    def __init__(self, group: Group, partition: int, output: Topic, consumer: Any):
        self.bundle: object = None
        """Whose outputs the open transaction holds; None while none is open."""

        self._group, self._partition = group, partition
        self._metadata = consumer.consumer_group_metadata()
        self._deliveries = Deliveries(group.config, output, transactional_id(group, partition))
        try:
            self._insist(self._deliveries.producer.init_transactions, CALL_SECONDS)
            self.end = committed_end(consumer, group.topic, partition)
            """Offsets below are done or admitted; None where the group has none yet."""
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

    def open(self, bundle: object) -> None:
        """Open a transaction unless one is open.

        Raises:
            RuntimeError: another has opened this partition's transactions.
        """
        if self.bundle is None:
            self._insist(self._deliveries.producer.begin_transaction)
            self.bundle = bundle

    def send(
        self,
        values: Sequence[bytes],
        keys: Sequence[bytes | None],
        headers: Sequence[Headers],
        times: Sequence[int],
        topic: Topic | None = None,
    ) -> None:
        """Put messages into the transaction: see `Deliveries.send`.

        Raises:
            RuntimeError: another has opened this partition's transactions.
        """
        try:
            self._deliveries.send(values, keys, headers, times, topic)
        except require_client().KafkaException as error:
            raise RuntimeError(self._told(error.args[0])) from error

    def commit(self, end: int) -> None:
        """Make the outputs that were sent and the end of their offsets valid together.

        Args:
            end: of the offsets whose outputs are in the transaction. What was admitted since is none of its.

        Raises:
            RuntimeError: neither is, or (the broker went away in between) whoever opens next finds out which.
        """
        kafka = require_client()
        producer = self._deliveries.producer
        try:
            self._deliveries.check()
        except (RuntimeError, SystemError, kafka.KafkaException) as error:
            # A fatal error comes out of the client's own callback, as the cause of a SystemError.
            said = error if isinstance(error, kafka.KafkaException) else error.__cause__
            if not isinstance(said, kafka.KafkaException):
                raise
            raise RuntimeError(self._told(said.args[0])) from error
        done = [kafka.TopicPartition(self._group.topic, self._partition, end)]
        self._insist(producer.send_offsets_to_transaction, done, self._metadata, CALL_SECONDS)
        self._insist(producer.commit_transaction, CALL_SECONDS)
        self.bundle = None

    def close(self) -> None:
        """Give up what is not committed, and the producer."""
        # Fenced, or the broker is away: whoever opens next, or the broker, ends the transaction.
        lost = (require_client().KafkaException, SystemError)
        if self.bundle is not None:
            with contextlib.suppress(*lost):
                self._deliveries.producer.abort_transaction(ABORT_SECONDS)
        with contextlib.suppress(*lost):
            self._deliveries.abandon()

    def _insist(self, call: Callable[..., Any], *arguments: Any) -> None:
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
        where = f"{self._group.topic}/{self._partition}"
        if error.code() in (codes._FENCED, codes.PRODUCER_FENCED, codes.INVALID_PRODUCER_EPOCH):
            return f"{where}: another worker or run with --group {self._group.name} has taken it over and goes on here"
        if error.code() in (codes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, codes.CLUSTER_AUTHORIZATION_FAILED):
            ids = f"beamsplit/{self._group.name}/{self._group.topic}/"
            return f"{where}: the broker allows no transactions; grant Write on the transactional ids {ids}*"
        return f"{where}: the transaction failed: {self._deliveries.errors.fatal or error.str()}"


def asker(group: Group) -> Any:
    """A consumer that is asked how far the group is, and waits for transactions that are being committed."""
    return make_consumer(
        group.config, group_id=group.name, isolation_level="read_committed", socket_timeout_ms=ANSWER_MS
    )


def pin_starts(group: Group, output: Topic, start: str | int) -> None:
    """Commit where the group begins, in partitions that it has no offset for: a failure must not move that.

    Args:
        group: whose partitions; who writes for it is fenced.
        output: where messages go.
        start: as `offsets.first_offsets` takes it.

    Raises:
        UsageError: the broker does not answer, or allows no transactions.
    """
    consumer = asker(group)

    def pin(partition: int) -> None:
        transactions = Transactions(group, partition, output, consumer)
        try:
            if transactions.end is None:
                begin = first_offsets(consumer, group.topic, [partition], {}, start)[partition]
                transactions.open(pin)
                transactions.commit(begin)
        finally:
            transactions.close()

    try:
        partitions = partitions_of(consumer, group.topic, CALL_SECONDS) or []
        with ThreadPoolExecutor(AT_ONCE, "transactions") as pool:
            list(pool.map(pin, partitions))
    except (RuntimeError, require_client().KafkaException) as error:
        raise UsageError(f"--delivery exactly_once: {error}") from error
    finally:
        consumer.close()


class OpenTransactions:
    """Those of this process: a bundle goes on with what the one before has opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[Group, int, Topic], Transactions] = {}
        self._consumers: dict[Group, Any] = {}

    def take(self, group: Group, partition: int, output: Topic, begin: int, bundle: object) -> Transactions:
        """A partition's transactions, for a bundle that has its messages from `begin` on.

        Raises:
            RuntimeError: see `Transactions`.
        """
        key = group, partition, output
        with self._lock:
            found = self._open.get(key)
            if group not in self._consumers:
                self._consumers[group] = asker(group)
        if found is not None:
            # A bundle that failed has left its transaction open; a gap means that another process was at work since.
            left = found.bundle is not None and found.bundle is not bundle
            behind = found.bundle is None and found.end is not None and begin > found.end
            if not (left or behind):
                return found
            self.drop(found)
        made = Transactions(group, partition, output, self._consumers[group])
        with self._lock:
            self._open[key] = made
        return made

    def drop(self, transactions: Transactions) -> None:
        """Give up what is open, and forget it."""
        with self._lock:
            self._open = {key: each for key, each in self._open.items() if each is not transactions}
        transactions.close()


OPEN = OpenTransactions()
"""The one of this process."""
