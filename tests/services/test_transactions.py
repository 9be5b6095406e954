"""Transactions on a real broker: fencing, replays, crashes at each step, errors in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.apply import CountedStep
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.errors_file import ErrorsFile
from beamsplit.transforms.kafka.exactly_once import ScoreInTransactions
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.open_transactions import OpenTransactions
from beamsplit.transforms.kafka.outgoing import Messages
from beamsplit.transforms.kafka.pinned_starts import pin_starts
from beamsplit.transforms.kafka.transact import Transacted
from beamsplit.transforms.kafka.transactions import Transactions
from tests.services.streams import origins, read_topic
from tests.services.transacted import Topics

pytest.importorskip("confluent_kafka")


def take(transactions: Transactions, begin: int, end: int, bundle: object) -> int:
    """Admit offsets, and open a transaction for those that are not done; gives the first of them."""
    first = transactions.admit(begin, end)
    if end > first:
        transactions.open(bundle)
    return first


def send(transactions: Transactions, *values: bytes) -> None:
    count = len(values)
    transactions.send(Messages(values, [None] * count, [[]] * count, [-1] * count))


def test_outputs_and_offsets_are_valid_together(topics: Topics):
    one = topics.open()
    assert one.end is None and take(one, 10, 25, "bundle") == 10
    send(one, b"a", b"b")
    assert (topics.values(), topics.committed()) == ([], None)
    one.commit(one.end)
    assert (topics.values(), topics.committed()) == ([b"a", b"b"], 25)
    one.close()


def test_a_zombie_is_fenced_and_its_outputs_never_count(topics: Topics):
    zombie = topics.open()
    take(zombie, 0, 5, "old")
    send(zombie, b"zombie")
    successor = topics.open()
    assert successor.end is None
    take(successor, 0, 5, "new")
    send(successor, b"right")
    successor.commit(successor.end)
    with pytest.raises(RuntimeError, match="has taken it over"):
        zombie.commit(zombie.end)
    zombie.close()
    assert (topics.values(), topics.committed()) == ([b"right"], 5)
    successor.close()


def crash_before_flush(_: Transactions) -> None:
    pass


def crash_before_offsets(one: Transactions) -> None:
    one._deliveries.check()


def crash_before_commit(one: Transactions) -> None:
    commit = one._deliveries.producer.commit_transaction
    one._retry = lambda call, *given: call(*given) if call != commit else None  # type: ignore[method-assign]
    one.commit(one.end)


@pytest.mark.parametrize("crash", [crash_before_flush, crash_before_offsets, crash_before_commit])
def test_after_a_crash_before_the_commit_all_is_done_again_once(topics: Topics, crash: Callable[[Transactions], None]):
    one = topics.open()
    take(one, 0, 5, "first")
    send(one, b"a")
    one.commit(one.end)
    take(one, 5, 9, "second")
    send(one, b"b")
    crash(one)
    two = topics.open()
    assert two.end == 5 and take(two, 5, 9, "second") == 5
    send(two, b"b")
    two.commit(two.end)
    assert (topics.values(), topics.committed()) == ([b"a", b"b"], 9)
    for each in (one, two):
        each.close()


@pytest.mark.parametrize("crash", [crash_before_flush, crash_before_offsets, crash_before_commit, None])
def test_errors_in_a_file_are_there_once_whenever_a_crash_comes(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: Callable[[Transactions], None] | None
):
    """None crashes between the commit and the writing of the lines."""
    file = ErrorsFile(str(tmp_path / "errors.jsonl"))

    def opened() -> Transactions:
        return Transactions(topics.group, 0, topics.output, topics.consumer, file)

    def bad(one: Transactions, offset: int) -> None:
        take(one, offset, offset + 1, "bundle")
        one.add_errors([RowError(f"{topics.group.topic}/0", offset, "read", "oops")])

    def told() -> list[int]:
        path = Path(file.path)
        return [json.loads(line)["offset"] for line in path.read_text().splitlines()] if path.exists() else []

    topics.feed(partition=0, messages=2)
    first = opened()
    bad(first, 0)
    first.commit(1)
    assert told() == [0]
    bad(first, 1)
    monkeypatch.setattr(first._pending, "publish", lambda: None)
    if crash is None:
        first.commit(2)
        pin_starts(topics.group, topics.output, "earliest", file)  # as a command that is started again
    else:
        crash(first)
    assert told() == ([0, 1] if crash is None else [0])
    second = opened()
    if second.end == 1:
        bad(second, 1)
        second.commit(2)
    assert told() == [0, 1] and topics.committed() == 2 and not list(tmp_path.glob(".*"))
    for each in (first, second):
        each.close()


def test_a_gap_is_an_error_and_what_is_done_is_known(topics: Topics):
    one = topics.open()
    take(one, 0, 10, "bundle")
    one.commit(one.end)
    assert take(one, 3, 8, "bundle") == 10 and one.bundle is None, "all of it is done: no transaction"
    with pytest.raises(RuntimeError, match="done what is below 10, and the source goes on at 12"):
        take(one, 12, 14, "bundle")
    assert take(one, 8, 14, "bundle") == 10
    one.commit(one.end)
    assert topics.committed() == 14
    one.close()


def test_a_bundle_gives_up_what_the_one_before_left_open(topics: Topics):
    here = OpenTransactions()
    first = here.take(topics.group, 0, topics.output, 0, "first")
    take(first, 0, 5, "first")
    send(first, b"left")
    assert here.take(topics.group, 0, topics.output, 5, "first") is first
    second = here.take(topics.group, 0, topics.output, 0, "second")
    assert second is not first and second.end is None
    take(second, 0, 5, "second")
    second.commit(second.end)
    assert here.take(topics.group, 0, topics.output, 5, "third") is second
    elsewhere = topics.open()
    take(elsewhere, 5, 9, "elsewhere")
    elsewhere.commit(elsewhere.end)
    fourth = here.take(topics.group, 0, topics.output, 9, "fourth")
    assert fourth is not second and fourth.end == 9
    assert topics.values() == []
    here.drop(fourth)
    elsewhere.close()


def test_a_group_beyond_the_end_of_a_topic_that_was_made_anew_begins_again(topics: Topics):
    producer = topics.open()
    take(producer, 0, 4, "bundle")
    producer.commit(producer.end)
    producer.close()
    topics.feed(partition=0, messages=2)
    (gap,) = pin_starts(topics.group, topics.output, "latest")
    assert (gap.partition, gap.begin, gap.next, gap.end) == (0, 4, 0, 2) and topics.committed(0) == 0


def test_where_a_group_begins_is_committed_once(topics: Topics):
    producer = topics.open()
    take(producer, 0, 4, "bundle")
    producer.commit(producer.end)
    producer.close()
    topics.feed(partition=0, messages=4)
    topics.feed(partition=1, messages=3)
    assert pin_starts(topics.group, topics.output, "latest") == []
    assert (topics.committed(0), topics.committed(1)) == (4, 3)
    topics.feed(partition=1, messages=2)
    pin_starts(topics.group, topics.output, "latest")
    assert topics.committed(1) == 3
    assert topics.values() == []


def test_times_of_ones_own_are_taken_and_wrong_ones_told(topics: Topics, monkeypatch: pytest.MonkeyPatch):
    group = replace(topics.group, config=replace(topics.group.config, properties="env:CLIENT"))
    monkeypatch.setenv("CLIENT", "transaction.timeout.ms=60000\ndelivery.timeout.ms=50000\n")
    pin_starts(group, topics.output, "earliest")
    assert topics.committed() == 0
    monkeypatch.setenv("CLIENT", "transaction.timeout.ms=60000\n")
    with pytest.raises(UsageError, match=r"timeout\.ms.*must be set <= `transaction\.timeout\.ms`"):
        pin_starts(group, topics.output, "earliest")
    # Longer than brokers allow.
    monkeypatch.setenv("CLIENT", "transaction.timeout.ms=999999999\n")
    with pytest.raises(UsageError, match=r"/[01]: the transaction failed: .*Transaction timeout is larger"):
        pin_starts(group, topics.output, "earliest")


def score(topics: Topics, *blocks: pa.RecordBatch, errors: Topic | None = None) -> None:
    """A run of its own over some blocks: their JSON goes out as it came in."""
    step = CountedStep(ParseMessages("json", pa.schema([("x", pa.int64())])), "read", None, True)
    with beam.Pipeline("FnApiRunner") as pipeline:
        read = pipeline | beam.Create(blocks, reshuffle=False)
        read | ScoreInTransactions([step], Transacted(topics.group, topics.output, "json", errors))


def test_replays_are_dropped_and_errors_are_in_the_same_transaction(topics: Topics):
    first = topics.block(0, 0, 4, [b'{"x":0}', b"oops", b'{"x":2}', b'{"x":3}'])
    score(topics, first, topics.block(1, 7, 8, [b"bad"]), errors=topics.errors)
    # Again, with a range that reaches further: its messages lie apart, as after a compaction.
    more = topics.block(0, 2, 9, [b'{"x":2}', b'{"x":3}', b'{"x":4}'])
    score(topics, first, more, topics.block(1, 7, 8, [b"bad"]), errors=topics.errors)
    assert [json.loads(value)["x"] for value in topics.values()] == [0, 2, 3, 4]
    assert (topics.committed(0), topics.committed(1)) == (9, 8), "of a partition with bad messages only too"
    told = [json.loads(value) for value in topics.values(topics.errors)]
    assert {(one["partition"], one["offset"]) for one in told} == {(0, 1), (1, 7)} and len(told) == 2


def test_a_bundle_that_fails_leaves_neither_outputs_nor_errors(topics: Topics):
    first = topics.block(0, 0, 2, [b'{"x":0}', b"oops"])
    with pytest.raises(Exception, match="goes on at 5"):
        score(topics, first, topics.block(0, 5, 6, [b'{"x":5}']), errors=topics.errors)
    assert (topics.values(), topics.values(topics.errors), topics.committed()) == ([], [], None)
    score(topics, first, errors=topics.errors)
    assert (len(topics.values()), len(topics.values(topics.errors)), topics.committed()) == (1, 1, 2)


def test_each_output_tells_its_input(topics: Topics):
    score(topics, topics.block(1, 3, 5, [b'{"x":0}', b'{"x":1}']))
    found = origins(read_topic(topics.broker, topics.output.name))
    assert found == [(topics.group.topic, 1, 3), (topics.group.topic, 1, 4)]
