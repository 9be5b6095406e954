"""Outputs are counted once the brokers have them."""

from __future__ import annotations

import pytest

from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.delivered import tell_delivered
from beamsplit.transforms.kafka.sink import SendBlocksDoFn
from beamsplit.transforms.telemetry import recorder
from tests.transforms.kafka.brokers import FakeBroker
from tests.transforms.kafka.delivering import BAD_RECORD, HERE, OUT, messages, poison, predictions


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> recorder.Recorder:
    made = recorder.Recorder()
    monkeypatch.setattr(recorder, "_RECORDER", [made])
    return made


def delivered(counts: recorder.Recorder) -> int:
    return dict(counts.values("beamsplit_rows_delivered")).get((), 0)


def test_those_of_earlier_blocks_count_while_the_bundle_goes_on(counts: recorder.Recorder, fake_broker: FakeBroker):
    send = SendBlocksDoFn(ClientConfig(HERE), OUT, "json")
    send.start_bundle()
    found = []
    for names in (["a", "b"], ["c"], ["d"]):
        assert not list(send.process(predictions(*names)))
        found.append(delivered(counts))
        if names != ["a", "b"]:
            send._deliveries.producer.flush(0)
    # "a" and "b" were with the client when "c" was handed over, and none of them when "d" was.
    assert found == [0, 0, 3]
    assert not send.finish_bundle() and delivered(counts) == 4
    send.start_bundle()
    assert not send.finish_bundle() and delivered(counts) == 4
    send.teardown()


def test_those_that_are_refused_do_not_count(counts: recorder.Recorder, fake_broker: FakeBroker):
    fake_broker.verdict, fake_broker.most = poison(BAD_RECORD, b'{"y":"x"}'), 100
    send = SendBlocksDoFn(ClientConfig(HERE), OUT, "json")
    send.start_bundle()
    assert len(list(send.process(predictions("a", "l" * 100, "x")))) == 1
    send._deliveries.producer.flush(0)
    assert not list(send.process(predictions("b"))) and delivered(counts) == 0, "some are to be sent again"
    assert len(send.finish_bundle()) == 1 and delivered(counts) == 2
    send.teardown()


def test_errors_do_not_count_and_ages_are_told_of_those_that_do(counts: recorder.Recorder):
    tell_delivered([(messages(b"a", b"b", b"c"), {1}), (messages(b"e")._replace(block=None), ())])
    ((_, ages),) = counts.values("beamsplit_delivery_seconds")
    assert delivered(counts) == ages.counts.sum() == 2


def test_where_nobody_asks_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, fake_broker: FakeBroker):
    monkeypatch.setattr(recorder, "_RECORDER", [])
    tell_delivered([(messages(b"a"), ())])
    send = SendBlocksDoFn(ClientConfig(HERE), OUT, "json")
    send.start_bundle()
    assert not list(send.process(predictions("a")))
    assert send._on_their_way == []
    assert not send.finish_bundle()
    send.teardown()
