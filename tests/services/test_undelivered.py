"""Outputs that a real broker will not take: sizes, times, keys, and topics that are deleted."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from beamsplit.runners.local import KafkaBroker
from beamsplit.transforms.kafka import deliveries, limits
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.clients import make_admin, make_producer
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.limits import batch_bytes
from beamsplit.transforms.kafka.outgoing import Headers, Messages
from tests.services.streams import Stream, origins, read_topic, rows
from tests.services.transacted import Topics
from tests.transforms.kafka.fake_message import FakeMessage
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka")

HOUR = 3_600_000
POISON = {3, 50, 51, 99}


def delete(broker: KafkaBroker, topic: str) -> None:
    admin = make_admin(ClientConfig(broker.address))
    admin.delete_topics([topic])[topic].result(DEADLINE)


def outputs(values: list[bytes], times: list[int], keys: list[bytes | None] | None = None) -> Messages:
    """Outputs of the messages at offsets 0, 1, ... of partition 0."""
    block = block_of([FakeMessage(b"", 0, offset, None, None, 1) for offset in range(len(values))], "in")
    return Messages(values, keys or [None] * len(values), [[]] * len(values), times, block=block)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_stream_goes_on_past_what_its_output_topic_will_not_take(stream: Stream, tmp_path: Path, delivery: str):
    broker, name = stream.broker, uuid.uuid4().hex[:8]
    stream.input = broker.create_topic(f"any-{name}", 2, {"message.timestamp.after.max.ms": str(100 * HOUR)})
    narrow = {"max.message.bytes": "400", "cleanup.policy": "compact", "message.timestamp.after.max.ms": str(HOUR)}
    stream.output = broker.create_topic(f"narrow-{name}", 2, narrow)
    errors = broker.create_topic(f"errors-{name}")
    producer, now = make_producer(ClientConfig(broker.address)), int(time.time() * 1000)
    for number, value in enumerate(rows(120)):
        key = {7: b"k" * 500, 57: None}.get(number, b"%d" % number)
        producer.produce(stream.input, value, key, timestamp=now + (3 * HOUR if number == 107 else 0))
    assert producer.flush(DEADLINE) == 0
    summary = tmp_path / "summary.json"
    options = ("--delivery", delivery, "--errors", stream.uri(errors), "--summary", str(summary), "--group", "g1")
    code, out, err = stream.run("--until_end", "--max_failed", "3", *options)
    assert code == 0, err
    assert "120 in, 117 scored, 3 failed" in out and "Traceback" not in err
    assert json.loads(summary.read_text())["failed_by_stage"] == {"write": 3}
    assert set(Counter(origins(stream.read(stream.output))).values()) == {1}
    assert len(stream.read(stream.output)) == 117 and stream.committed("g1") == 120
    told = [json.loads(message.value()) for message in stream.read(errors)]
    reasons = sorted(one["reason"] for one in told)
    assert len(reasons) == 3 and {one["stage"] for one in told} == {"write"}
    assert "message.timestamp.after.max.ms" in reasons[0]
    assert f"bytes, and topic '{stream.output}' takes 400 (max.message.bytes)" in reasons[1]
    assert "wants a key" in reasons[2]
    if delivery == "at_least_once":
        # What cannot be delivered as an error either ends the job.
        tiny = broker.create_topic(f"tiny-{name}", settings={"max.message.bytes": "100"})
        code, _, err = stream.run("--until_end", "--quiet", "--errors", stream.uri(tiny), "--group", "g2")
        (line,) = err.splitlines()
        assert code == 1 and line.startswith("error: ") and f"topic '{tiny}' takes 100 (max.message.bytes)" in line


def test_sizes_are_counted_as_the_broker_does(broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "read_limits", lambda *_: None)
    topic = broker.create_topic(f"edge-{uuid.uuid4().hex}", settings={"max.message.bytes": "20000"})
    one = Deliveries(ClientConfig(broker.address), Topic(broker.address, topic))
    shapes: list[tuple[bytes | None, Headers]] = [
        (None, []),
        (b"k", [("a", b"1"), ("é", None)]),
        (b"", [("h", b"x" * 200)]),
    ]
    for key, headers in shapes:
        most = max(size for size in range(19_000, 20_000) if batch_bytes(b"v" * size, key, headers) <= 20_000)
        for size in (most, most + 1):
            one.send(Messages([b"v" * size], [key], [headers], [-1]))
            assert len(one.check()) == size - most
    one.abandon()


@pytest.mark.parametrize("settings", [{}, {"max.message.bytes": "3000"}, {"cleanup.policy": "compact"}])
@pytest.mark.parametrize("once", [False, True])
def test_what_is_refused_is_found_where_settings_cannot_be_read(
    topics: Topics,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    once: bool,
):
    monkeypatch.setattr(limits, "read_limits", lambda *_: None)
    monkeypatch.setattr(limits, "_KNOWN", {})
    topics.output = Topic(topics.broker.address, topics.broker.create_topic(f"o-{uuid.uuid4().hex}", 1, settings))
    values = [b"%d" % number for number in range(2_000)]
    keys: list[bytes | None] = [b"k"] * 2_000
    times = [-1] * 2_000
    for number in POISON:
        values[number] *= 4_000 if "max.message.bytes" in settings else 1
        keys[number] = None if settings else b"k"
        times[number] = -1 if settings else int(time.time() * 1000) + 3 * HOUR
    sent = outputs(values, times, keys)
    if once:
        one = topics.open()
        one.admit(0, 2_000)
        one.open("bundle")
        one.send(sent)
        one.commit(2_000)
        failed = one.take_failed()
        one.close()
        assert topics.committed() == 2_000
    else:
        plain = Deliveries(topics.group.config, topics.output)
        plain.send(sent)
        failed = [each.messages.error(each.row, each.reason) for each in plain.check()]
        plain.abandon()
    assert sorted(error.row for error in failed) == sorted(POISON)
    found = Counter(topics.values())
    assert set(found.values()) == {1} and len(found) == 2_000 - len(POISON)


@pytest.mark.parametrize("once", [False, True])
def test_a_topic_that_is_deleted_ends_the_job(
    topics: Topics,
    monkeypatch: pytest.MonkeyPatch,
    once: bool,
):
    monkeypatch.setattr(deliveries, "LOOK_SECONDS", 0.2)
    told = rf"^--output {topics.output}: the topic was deleted while the job ran, .* create it"
    if once:
        one = topics.open()
        one.open("bundle")
        delete(topics.broker, topics.output.name)
        one.send(outputs([b"a"], [-1]))
        with pytest.raises(JobEndsError, match=told):
            one.commit(1)
        one.close()
    else:
        plain = Deliveries(topics.group.config, topics.output)
        plain.send(outputs([b"a"], [-1]))
        assert plain.check() == []
        delete(topics.broker, topics.output.name)
        plain.send(outputs([b"b"], [-1]))
        with pytest.raises(JobEndsError, match=told):
            plain.check()
        plain.abandon()


def test_a_stream_whose_output_topic_is_deleted_ends_in_one_line(stream: Stream):
    stream.send(rows(20))
    process = stream.start("--quiet")
    wait_until(lambda: len(read_topic(stream.broker, stream.output)) == 20 or process.poll() is not None)
    delete(stream.broker, stream.output)
    stream.send(rows(20))
    _, err = process.communicate(timeout=DEADLINE)
    (line,) = err.splitlines()
    assert process.returncode == 1 and "the topic was deleted while the job ran" in line
    assert stream.output not in stream.topics()
