from __future__ import annotations

import base64
import bz2
import contextlib
import pickle
import re
import zlib

import apache_beam as beam
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.config import ClientConfig, Topic, parse_properties, parse_topic, read_properties
from beamsplit.transforms.kafka.ranges import OffsetRange, ReadRanges
from beamsplit.transforms.kafka.rows import SendRows
from beamsplit.transforms.kafka.sink import WriteMessages
from beamsplit.transforms.kafka.source import KafkaSource, ReadMessages


def test_a_topic_is_servers_and_a_name():
    assert parse_topic("kafka://a:9092,[::1]:9093/in.v1", "--input") == Topic("a:9092,[::1]:9093", "in.v1")


@pytest.mark.parametrize(
    "text", ["kafka://a/in", "kafka://a:9092", "kafka://a:9092/", "kafka://a:9092/x/y", "kafka:///x"]
)
def test_what_is_no_topic_says_what_to_type(text: str):
    with pytest.raises(UsageError, match=r"type --output kafka://HOST:PORT/TOPIC"):
        parse_topic(text, "--output")


def test_properties_with_comments_continued_lines_and_variables():
    text = "# users\n! too\n\nsasl.username = alice\nsasl.password=${PASSWORD}\nssl.ca.location=/etc/\\\n    ca.pem\n"
    assert parse_properties(text, "f", {"PASSWORD": "a=b"}) == {
        "sasl.username": "alice",
        "sasl.password": "a=b",
        "ssl.ca.location": "/etc/ca.pem",
    }


def test_the_java_clients_user_and_password_are_understood():
    text = 'sasl.jaas.config=org.apache.Plain required username="alice" password="a\\"b";\nsasl.mechanism=PLAIN'
    read = parse_properties(text, "f", {})
    assert read == {"sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": 'a"b'}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sasl.password", "line 1 is no property; write NAME=VALUE"),
        ("group.id=g", "sets group.id, which --group sets"),
        ("sasl.password=${NO_SUCH}", "wants the environment variable NO_SUCH"),
        ("ssl.truststore.location=/x", "librdkafka takes ssl.ca.location"),
    ],
)
def test_wrong_properties_name_the_fix(text: str, said: str):
    with pytest.raises(UsageError, match=said):
        parse_properties(text, "f", {})


def test_properties_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLIENT", "security.protocol=SSL")
    assert read_properties("env:CLIENT") == {"security.protocol": "SSL"}
    with pytest.raises(UsageError, match="the environment has no NO_CLIENT"):
        read_properties("env:NO_CLIENT")


def test_what_travels_to_workers_holds_no_secret(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("sasl.username=alice\nsasl.password=s3cret\n")
    config = ClientConfig("a:9092", str(file))
    assert b"s3cret" not in pickle.dumps(config) and "s3cret" not in repr(config)
    assert config.client(group_id="g")["sasl.password"] == "s3cret"
    assert config.client(group_id="g")["group.id"] == "g"


def test_times_that_a_file_sets_win_over_ours_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLIENT", "transaction.timeout.ms=5\nlinger.ms=7\n")
    made = ClientConfig("h:1", "env:CLIENT").client(transaction_timeout_ms=9, delivery_timeout_ms=8, linger_ms=6)
    assert (made["transaction.timeout.ms"], made["delivery.timeout.ms"], made["linger.ms"]) == ("5", 8, 6)


@pytest.mark.parametrize(
    ("text", "waits"),
    [("", 10_000), ("transaction.timeout.ms=5000\n", 5000), ("socket.timeout.ms=70000\n", "70000")],
)
def test_a_client_of_transactions_waits_for_answers_so_long(monkeypatch: pytest.MonkeyPatch, text: str, waits: object):
    kafka = pytest.importorskip("confluent_kafka")
    monkeypatch.setenv("CLIENT", text + "delivery.timeout.ms=5000\n")
    ours = {"transaction_timeout_ms": 180_000, "transactional_id": "t"}
    made = ClientConfig("127.0.0.1:1", "env:CLIENT").client(socket_timeout_ms=10_000, **ours)
    assert made["socket.timeout.ms"] == waits
    kafka.Producer(made)  # raises where the client refuses what does not go together


def test_times_of_a_stream_follow_the_clients_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLIENT", "metadata.max.age.ms=500\nsession.timeout.ms=6000\ngroup.instance.id=me\n")
    config = ClientConfig("h:1", "env:CLIENT")
    assert (config.metadata_seconds(), config.session_ms(10_000)) == (0.5, 6000)
    made = config.client(group_instance_id=None, session_timeout_ms=10_000)
    assert "group.instance.id" not in made and made["session.timeout.ms"] == "6000"
    assert (ClientConfig("h:1").metadata_seconds(), ClientConfig("h:1").session_ms(10_000)) == (30.0, 10_000)
    monkeypatch.setenv("CLIENT", "metadata.max.age.ms=often\n")
    with pytest.raises(UsageError, match=r"metadata.max.age.ms=often is no number of milliseconds"):
        config.metadata_seconds()


def test_the_pipeline_holds_no_secret(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("sasl.username=alice\nsasl.password=s3cret\n")
    config, topic = ClientConfig("a:9092", str(file)), Topic("a:9092", "in")
    config.client()
    pipeline = beam.Pipeline()
    pipeline | ReadRanges(config, topic, [OffsetRange(0, 0, 9)], 1) | SendRows(config, topic)
    pipeline | "Stream" >> ReadMessages(KafkaSource(config, topic, "g")) | "Out" >> WriteMessages(config, topic)
    made = pipeline.to_runner_api().SerializeToString()
    # What is pickled is compressed and in base64: with neither, the file's name shows that the text would show too.
    payloads = [*re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", made), made]
    texts = b"".join(unpacked(payload) for payload in payloads)
    assert str(file).encode() in texts and b"s3cret" not in texts


def unpacked(payload: bytes) -> bytes:
    for unpack in (base64.b64decode, bz2.decompress, zlib.decompress):
        with contextlib.suppress(ValueError, OSError, zlib.error):
            payload = unpack(payload)
    return payload
