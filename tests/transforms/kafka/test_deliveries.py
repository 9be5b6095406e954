"""Which messages are delivered, which are refused, and what ends a job."""

from __future__ import annotations

import pytest

from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.limits import TopicLimits
from beamsplit.transforms.kafka.outgoing import Refusal
from tests.transforms.kafka.brokers import FakeBroker, kafka, settings
from tests.transforms.kafka.delivering import BAD_RECORD, BAD_TIME, HERE, OUT, TOO_LARGE, messages, poison


def deliveries() -> Deliveries:
    return Deliveries(ClientConfig(HERE), OUT)


def refused(found: list[Refusal]) -> list[tuple[int, str]]:
    """Offset and reason of each."""
    return [(one.messages.error(one.row, one.reason).row, one.reason) for one in found]


@pytest.mark.parametrize("room", [1, 3])
def test_a_full_queue_is_waited_for_and_each_message_goes_once_and_in_order(fake_broker: FakeBroker, room: int):
    fake_broker.room = room
    values = [b"%d" % i for i in range(10)]
    one = deliveries()
    assert one.send(messages(*values)) == []
    assert fake_broker.polls == 10 - room + 1, "once for each message that found it full, and at the end"
    assert one.check() == []
    assert fake_broker.log == [("out", value) for value in values]


def test_messages_that_find_the_queue_full_of_a_topic_that_is_gone_end_the_job(fake_broker: FakeBroker):
    fake_broker.room = 1
    fake_broker.topics_gone.add("out")
    with pytest.raises(JobEndsError, match=r"--output kafka://127.0.0.1:1/out: the topic was deleted .* create it"):
        deliveries().send(messages(b"a", b"b"))


@pytest.mark.parametrize("names_culprits", [False, True])
@pytest.mark.parametrize("code", [TOO_LARGE, BAD_TIME, BAD_RECORD])
def test_one_that_is_refused_takes_none_of_its_batch_along(fake_broker: FakeBroker, code: int, names_culprits: bool):
    fake_broker.verdict, fake_broker.names_culprits = poison(code, b"x", b"y"), names_culprits
    one = deliveries()
    one.send(messages(b"a", b"x", b"b"))
    one.send(messages(b"c", b"d", b"y"))
    found = one.check()
    assert [offset for offset, _ in refused(found)] == [1, 2]
    assert all(reason.startswith("topic 'out' refuses it: ") for _, reason in refused(found))
    assert sorted(fake_broker.log) == [("out", value) for value in (b"a", b"b", b"c", b"d")]
    one.send(messages(b"e"))
    assert one.check() == [] and fake_broker.log[-1] == ("out", b"e")


def test_of_equal_messages_the_one_at_fault_is_found(fake_broker: FakeBroker):
    fake_broker.verdict = lambda topic, value, key, time: BAD_TIME if time == 9 else None
    one = deliveries()
    one.send(messages(b"a", b"a", b"a", keys=[b"k"] * 3, times=[1, 9, 1]))
    assert [offset for offset, _ in refused(one.check())] == [1]
    assert fake_broker.log == [("out", b"a")] * 2


def test_a_refusal_that_the_settings_explain_is_told_by_them(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch):
    settings(monkeypatch, out=TopicLimits(keyed=True))
    fake_broker.verdict = lambda topic, value, key, time: None if key else BAD_RECORD
    one = deliveries()
    one.send(messages(b"a", b"b", keys=[b"k", None]))
    assert refused(one.check()) == [
        (1, "topic 'out' is compacted (cleanup.policy) and wants a key, and the message has none")
    ]
    assert fake_broker.log == [("out", b"a")]


def test_what_the_client_will_not_take_is_told_at_once(fake_broker: FakeBroker):
    fake_broker.most = 3
    one = deliveries()
    ((offset, reason),) = refused(one.send(messages(b"a", b"long", b"b")))
    assert offset == 1 and "the client takes 1,000,000; set message.max.bytes in --kafka_config" in reason
    assert one.check() == [] and fake_broker.log == [("out", b"a"), ("out", b"b")]


def test_batches_are_no_larger_than_the_topic_takes(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch):
    settings(monkeypatch, out=TopicLimits(bytes=5_000), bad=TopicLimits(bytes=3_000))
    deliveries()
    Deliveries(ClientConfig(HERE), OUT, errors_topic=Topic(HERE, "bad"))
    monkeypatch.setenv("CLIENT", "batch.size=1000\n")
    Deliveries(ClientConfig(HERE, "env:CLIENT"), OUT)
    assert [made["batch_size"] for made in fake_broker.made] == [5_000, 3_000, 1_000]


def test_where_the_topic_takes_less_than_before_batches_get_smaller(
    fake_broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
):
    settings(monkeypatch, out=TopicLimits(bytes=5_000))
    one = deliveries()
    settings_now = TopicLimits(bytes=100)
    monkeypatch.setattr("beamsplit.transforms.kafka.limits.read_limits", lambda *_: settings_now)
    monkeypatch.setattr("beamsplit.transforms.kafka.deliveries.FRESH_SECONDS", 0.0)
    fake_broker.verdict = lambda topic, value, key, time: TOO_LARGE if len(value) > 30 else None
    one.send(messages(b"a", b"x" * 50))
    assert refused(one.check()) == [(1, "the message is 118 bytes, and topic 'out' takes 100 (max.message.bytes)")]
    assert fake_broker.made[-1]["batch_size"] == 100 and fake_broker.log == [("out", b"a")]
    one.send(messages(b"b"))
    assert one.check() == [] and fake_broker.log[-1] == ("out", b"b")


def test_a_topic_that_is_gone_ends_the_job_in_one_line(fake_broker: FakeBroker):
    one = deliveries()
    one.send(messages(b"a"))
    fake_broker.topics_gone.add("out")
    with pytest.raises(JobEndsError, match=r"^--output kafka://127.0.0.1:1/out: the topic was deleted.*$"):
        one.check()


def test_what_fails_for_another_reason_fails_the_bundle(fake_broker: FakeBroker):
    fake_broker.verdict = poison(kafka.KafkaError._MSG_TIMED_OUT, b"a")
    one = deliveries()
    one.send(messages(b"a"))
    with pytest.raises(RuntimeError, match=r"^--output kafka://127.0.0.1:1/out: 1 messages were not delivered") as told:
        one.check()
    assert not isinstance(told.value, JobEndsError)
