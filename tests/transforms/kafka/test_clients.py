from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka import clients
from beamsplit.transforms.kafka.clients import ClientErrors, check_topic, make_admin, make_producer
from beamsplit.transforms.kafka.config import ClientConfig, Topic

KafkaError = pytest.importorskip("confluent_kafka").KafkaError


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


def say(*reasons: str) -> ClientErrors:
    errors = ClientErrors()
    for reason in reasons:
        errors(KafkaError(KafkaError._TRANSPORT, reason))
    return errors


@pytest.mark.parametrize(
    ("reason", "hopeless", "fix"),
    [
        ("SASL authentication error: wrong", True, "give them with --kafka_config FILE"),
        ("sasl mechanism is not enabled", False, "give them with --kafka_config FILE"),
        ("SSL handshake failed", True, "check security.protocol and ssl.ca.location"),
        ("the certificate is not trusted", False, "check security.protocol and ssl.ca.location"),
        ("Failed to resolve 'nowhere:1'", True, "start it, or check the address"),
        ("Connect to 127.0.0.1:1 failed: Connection refused", False, "start it, or check the address"),
    ],
)
def test_what_is_said_of_a_broker_that_does_not_let_in(reason: str, hopeless: bool, fix: str):
    config, topic = ClientConfig("b:1"), Topic("b:1", "in")
    assert clients._hopeless(say(reason)) is hopeless
    told = clients._unreachable(config, topic, "--input", reason)
    assert told.startswith(
        f"--input kafka://b:1/in: the broker does not let us in or does not answer ({reason}); {fix}"
    )
    named = clients._unreachable(ClientConfig("b:1", "client.properties"), topic, "--input", "SASL: wrong")
    assert named.endswith("check the user and password in client.properties")


def test_a_property_that_is_none_names_its_file(tmp_path: Path):
    file = tmp_path / "client.properties"
    file.write_text("no.such.property=1\n")
    with pytest.raises(UsageError, match=rf'^--kafka_config {file}: .*"no.such.property".*; mend the property'):
        make_admin(ClientConfig("127.0.0.1:1", str(file)))


def test_no_broker_is_told_in_time():
    topic = Topic("127.0.0.1:1", "in")
    with pytest.raises(
        UsageError, match=r"^--input kafka://127.0.0.1:1/in: the broker does not let us in .*; start it"
    ):
        check_topic(ClientConfig("127.0.0.1:1"), topic, "--input", 0.1)
