"""Where a job with transactions begins: pinned before it runs, in transactions of the command itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.clients import partitions_of, require_client
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.errors_file import ErrorsFile
from beamsplit.transforms.kafka.gaps import Gap, find_gap
from beamsplit.transforms.kafka.offsets import Group, end_offsets, first_offsets, patiently
from beamsplit.transforms.kafka.open_transactions import asker
from beamsplit.transforms.kafka.transactions import AT_ONCE, CALL_SECONDS, Transactions


def pin_starts(group: Group, output: Topic, start: str | int, errors: ErrorsFile | None = None) -> list[Gap]:
    """Commit where the group begins, in partitions that it has no offset for: a failure must not move that.

    Where a topic ends below the group's offset, it was made anew: the group goes to its beginning, which is told.

    Args:
        group: whose partitions; who writes for it is fenced.
        output: where messages go.
        start: as `offsets.first_offsets` takes it.
        errors: gets what a job that was killed has committed and not written; None where it is not on this machine.

    Raises:
        UsageError: the broker does not answer, or allows no transactions.
    """
    consumer = asker(group)
    gaps: list[Gap] = []

    def pin(partition: int) -> None:
        transactions = Transactions(group, partition, output, consumer, errors)
        try:
            begin = None
            if transactions.end is None:
                begin = first_offsets(consumer, group.topic, [partition], {}, start)[partition]
            elif (gap := _made_anew(consumer, group.topic, partition, transactions.end)) is not None:
                gaps.append(gap)
                begin = gap.next
            if begin is not None:
                transactions.open(pin)
                transactions.commit(begin)
        finally:
            transactions.close()

    try:
        partitions = partitions_of(consumer, group.topic, CALL_SECONDS) or []
        with ThreadPoolExecutor(AT_ONCE, "transactions") as pool:
            list(pool.map(pin, partitions))
        return gaps
    except (RuntimeError, require_client().KafkaException) as error:
        raise UsageError(f"--delivery exactly_once: {error}") from error
    except OSError as error:
        raise UsageError(f"--errors {errors.path if errors else ''} cannot be written: {error.strerror}") from error
    finally:
        consumer.close()


def _made_anew(consumer: Any, topic: str, partition: int, end: int) -> Gap | None:
    """The gap of a partition whose log ends below where its group is."""
    log = patiently(lambda: end_offsets(consumer, topic, partition), consumer, topic)
    gap = find_gap(topic, partition, end, log)
    return gap if gap is not None and gap.anew else None
