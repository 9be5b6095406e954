"""Whose transactions a bundle goes on with, and when they are opened anew."""

from __future__ import annotations

import pytest

from beamsplit.transforms.kafka import open_transactions, transactions
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.open_transactions import OpenTransactions
from beamsplit.transforms.kafka.transactions import Transactions
from tests.transforms.kafka.brokers import FakeBroker
from tests.transforms.kafka.delivering import HERE, OUT, messages

GROUP = Group(ClientConfig(HERE), "in", "g", commits=False)


class Consumer:
    """Asked for the group's metadata."""

    def consumer_group_metadata(self) -> object:
        return object()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, fake_broker: FakeBroker) -> OpenTransactions:
    """Those of a process; where its group is, the broker knows."""
    monkeypatch.setattr(transactions, "committed_end", lambda *_: max(fake_broker.committed, default=None))
    monkeypatch.setattr(open_transactions, "asker", lambda _: Consumer())
    return OpenTransactions()


def take(opened: OpenTransactions, begin: int, bundle: str, partition: int = 0) -> Transactions:
    return opened.take(GROUP, partition, OUT, begin, bundle)


def score(one: Transactions, begin: int, end: int, bundle: str) -> None:
    """What a bundle does with messages, but for the commit."""
    assert one.admit(begin, end) == begin
    one.open(bundle)
    one.send(messages(*(b"%d" % at for at in range(begin, end))))


def test_the_next_bundle_goes_on_with_what_the_one_before_has_committed(opened: OpenTransactions):
    one = take(opened, 0, "first")
    score(one, 0, 3, "first")
    one.commit(3)
    assert take(opened, 3, "second") is one
    # What was read once more is none the less behind its end.
    assert take(opened, 1, "second") is one
    assert take(opened, 0, "second", partition=1) is not one


def test_a_bundle_goes_on_with_its_own_open_transaction_wherever_it_reads_next(opened: OpenTransactions):
    one = take(opened, 0, "first")
    score(one, 0, 3, "first")
    assert take(opened, 3, "first") is one and take(opened, 7, "first") is one


def test_what_another_bundle_left_open_is_given_up(opened: OpenTransactions, fake_broker: FakeBroker):
    one = take(opened, 0, "first")
    score(one, 0, 3, "first")
    other = take(opened, 0, "second")
    assert other is not one and one.bundle is None
    score(other, 0, 2, "second")
    other.commit(2)
    assert fake_broker.log == [("out", b"0"), ("out", b"1")] and fake_broker.committed == [2]
    assert take(opened, 2, "third") is other


def test_what_another_bundle_admitted_and_never_committed_is_not_taken_as_done(opened: OpenTransactions):
    """It waited for its transaction when its bundle was cut off."""
    one = take(opened, 0, "first")
    assert one.admit(0, 3) == 0
    other = take(opened, 0, "second")
    assert other is not one and other.end is None


def test_where_another_process_was_at_work_since_the_broker_is_asked_anew(
    opened: OpenTransactions, fake_broker: FakeBroker
):
    one = take(opened, 0, "first")
    score(one, 0, 3, "first")
    one.commit(3)
    fake_broker.committed.append(9)
    other = take(opened, 9, "second")
    assert other is not one and other.end == 9
    score(other, 9, 10, "second")


def test_what_is_dropped_is_forgotten_and_the_others_are_not(opened: OpenTransactions):
    one, other = take(opened, 0, "first"), take(opened, 0, "first", partition=1)
    score(one, 0, 3, "first")
    opened.drop(one)
    assert one.bundle is None and take(opened, 0, "second", partition=1) is other
    assert take(opened, 0, "second") is not one
