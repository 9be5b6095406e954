from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import confluent_kafka as kafka
import pytest

from beamsplit.transforms.kafka import topic_watch
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.topic_watch import NO_ID, TopicWatch


class Admin:
    """Answers with the ids, or error codes, that are in line; the last one stays."""

    def __init__(self, *answers: str | int):
        self.answers = list(answers)

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, Future[Any]]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        made: Future[Any] = Future()
        if isinstance(answer, int):
            made.set_exception(kafka.KafkaException(kafka.KafkaError(answer)))
        else:
            made.set_result(SimpleNamespace(topic_id=answer))
        return {"in": made}


GONE, AWAY = kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, kafka.KafkaError._TRANSPORT


def watch(monkeypatch: pytest.MonkeyPatch, *answers: str | int, **more: Any) -> TopicWatch:
    monkeypatch.setattr(topic_watch, "make_admin", lambda config: Admin(*answers))
    monkeypatch.setattr(topic_watch, "time", SimpleNamespace(sleep=lambda seconds: None))
    return TopicWatch(ClientConfig("h:1"), Topic("h:1", "in"), **{"call": lambda told: None, **more})


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (("a", "a", AWAY, "a"), [None, None, None, None]),
        (("a", GONE, GONE), [None, None, "deleted while it was read"]),
        (("a", GONE, "a", GONE), [None, None, None, None]),
        (("a", GONE, AWAY, GONE), [None, None, None, "deleted while it was read"]),
        (("a", "b"), [None, "made anew while it was read, and its offsets begin again; give another --group"]),
        ((AWAY, "a", AWAY, "b"), [None, None, None, "made anew"]),
        ((NO_ID, NO_ID, GONE, GONE), [None, None, None, "deleted"]),
    ],
)
def test_a_topic_that_stays_away_or_is_another_one_is_told(monkeypatch, answers, told):
    looking = watch(monkeypatch, *answers)
    for expected in told:
        found = looking.look()
        assert found is None if expected is None else expected in str(found)


@pytest.mark.parametrize(("answers", "gone"), [(("a", GONE), True), (("a", GONE, "a"), False), (("a", AWAY), False)])
def test_the_last_look_makes_sure(monkeypatch, answers, gone):
    looking = watch(monkeypatch, *answers)
    looking.look()
    assert (looking.look_last() is not None) == gone


def test_the_watch_calls_once(monkeypatch):
    import threading

    called = threading.Event()
    told: list[str] = []

    def call(line: str) -> None:
        told.append(line)
        called.set()

    with watch(monkeypatch, "a", "b", call=call, seconds=0.001):
        assert called.wait(60)
    assert len(told) == 1 and "kafka://h:1/in: the topic was deleted and made anew" in told[0]
