"""A message that a broker refuses ends its transaction, which is made again without it."""

from __future__ import annotations

import json

import pytest

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka import transactions
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.transactions import Transactions
from tests.transforms.kafka.brokers import FakeBroker
from tests.transforms.kafka.delivering import BAD_RECORD, BAD_TIME, HERE, OUT, TOO_LARGE, messages, poison

GROUP = Group(ClientConfig(HERE), "in", "g", commits=False)
BAD = Topic(HERE, "bad")


class Consumer:
    """Asked for the group's metadata."""

    def consumer_group_metadata(self) -> object:
        return object()


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch, fake_broker: FakeBroker) -> list[int]:
    """Offsets that another commits are put here."""
    others: list[int] = []
    monkeypatch.setattr(transactions, "committed_end", lambda *_: max([*fake_broker.committed, *others], default=None))
    return others


def opened(errors: Topic | None = None) -> Transactions:
    one = Transactions(GROUP, 0, OUT, Consumer(), errors)
    one.admit(0, 6)
    one.open("bundle")
    return one


def offsets(failed: list[RowError]) -> list[int]:
    return [error.row for error in failed]


@pytest.mark.parametrize("names_culprits", [False, True])
@pytest.mark.parametrize("code", [TOO_LARGE, BAD_TIME, BAD_RECORD])
def test_the_others_of_its_transaction_are_committed_once_and_in_order(
    fake_broker: FakeBroker, taken_over: list[int], code: int, names_culprits: bool
):
    fake_broker.verdict, fake_broker.names_culprits = poison(code, b"x", b"y"), names_culprits
    one = opened()
    one.send(messages(b"a", b"x", b"b"))
    one.send(messages(b"c", b"y", b"d"))
    one.commit(6)
    assert fake_broker.log == [("out", value) for value in (b"a", b"b", b"c", b"d")]
    assert fake_broker.committed == [6]
    assert offsets(one.take_failed()) == [1, 1] and one.take_failed() == []
    one.open("bundle")
    one.send(messages(b"e"))
    one.commit(7)
    assert fake_broker.log[-1] == ("out", b"e") and fake_broker.committed == [6, 7]
    assert "batch_num_messages" not in fake_broker.made[-1], "in batches again"


def test_errors_are_in_the_same_transaction(fake_broker: FakeBroker, taken_over: list[int]):
    fake_broker.verdict = poison(BAD_RECORD, b"x")
    one = opened(BAD)
    one.send(messages(b"a", b"x"))
    one.commit(2)
    (output, (topic, line)) = fake_broker.log
    assert output == ("out", b"a") and topic == "bad"
    told = json.loads(line)
    assert (told["topic"], told["partition"], told["offset"], told["stage"]) == ("in", 0, 1, "write")
    assert "topic 'out' refuses it" in told["reason"]


def test_what_follows_a_refusal_waits_for_the_transaction_to_be_made_again(
    fake_broker: FakeBroker, taken_over: list[int]
):
    fake_broker.verdict = poison(BAD_RECORD, b"x")
    one = opened()
    one.send(messages(b"a", b"x"))
    one._deliveries.producer.flush(1)  # the broker's answer comes while the transaction is filled
    one.send(messages(b"c", b"d"))
    one.commit(4)
    assert fake_broker.log == [("out", value) for value in (b"a", b"c", b"d")]
    assert fake_broker.committed == [4] and offsets(one.take_failed()) == [1]


def test_what_the_client_refuses_leaves_the_transaction_as_it_is(fake_broker: FakeBroker, taken_over: list[int]):
    fake_broker.most = 200
    one = opened(BAD)
    one.send(messages(b"a", b"long" * 100))
    one.commit(2)
    assert len(fake_broker.made) == 1 and fake_broker.log[0] == ("out", b"a")
    assert json.loads(fake_broker.log[1][1])["reason"].startswith("the message is ")
    assert offsets(one.take_failed()) == [1]


def test_where_another_has_taken_over_meanwhile_nothing_is_committed(fake_broker: FakeBroker, taken_over: list[int]):
    fake_broker.verdict = poison(BAD_RECORD, b"x")
    one = opened()
    one.send(messages(b"a", b"x"))
    taken_over.append(4)
    with pytest.raises(RuntimeError, match="another worker or run with --group g has taken it over"):
        one.commit(2)
    assert (fake_broker.log, fake_broker.committed) == ([], [])


def test_a_topic_that_takes_not_even_the_error_ends_the_job(fake_broker: FakeBroker, taken_over: list[int]):
    fake_broker.verdict = lambda topic, value, key, time: BAD_RECORD if topic == "bad" or value == b"x" else None
    one = opened(BAD)
    one.send(messages(b"a", b"x"))
    with pytest.raises(JobEndsError, match=r"^--errors kafka://127.0.0.1:1/bad: .* cannot be delivered there either"):
        one.commit(2)
    assert (fake_broker.log, fake_broker.committed) == ([], [])
