from __future__ import annotations

from typing import Any

import pytest

from beamsplit.transforms.kafka import clients
from beamsplit.transforms.kafka.clients import make_admin, make_producer
from beamsplit.transforms.kafka.config import ClientConfig

pytest.importorskip("confluent_kafka")


@pytest.mark.parametrize("given", ["", "allow.auto.create.topics=true\n"])
def test_no_topic_is_made_by_asking_for_it(monkeypatch: pytest.MonkeyPatch, given: str):
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(clients, "_make", lambda kind, config, errors, ours: made.append(config.client(**ours)))
    monkeypatch.setenv("CLIENT", given)
    config = ClientConfig("127.0.0.1:1", "env:CLIENT")
    make_producer(config)
    make_admin(config)
    assert [one["allow.auto.create.topics"] for one in made] == [False, False]


def test_what_librdkafka_logs_at_its_lowest_level_is_not_shown(capsys: pytest.CaptureFixture[str]):
    made = clients._make(lambda given: given, ClientConfig("127.0.0.1:1"), None, {})
    made["logger"].critical("FATAL: fenced")
    assert capsys.readouterr() == ("", "")
