"""`python -m runners.local topic` and `status` with a broker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from beamsplit.runners.local import KafkaBroker
from beamsplit.runners.local.__main__ import main

kafka = pytest.importorskip("confluent_kafka")


def test_a_topic_is_made_filled_and_shown(broker: KafkaBroker, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    name = f"t-{uuid.uuid4().hex}"
    where = ["--broker", broker.address]
    assert main(["topic", "create", name, "--partitions", "2", *where]) == 0
    assert capfd.readouterr().out == f"topic {name} with 2 partitions at {broker.address}\n"
    assert main(["topic", "create", name, *where]) == 1
    assert (
        capfd.readouterr().err == f"error: the topic {name!r} is there already at {broker.address}, with 2 partitions\n"
    )
    assert main(["topic", "consume", name, *where]) == 0
    assert capfd.readouterr().out == ""
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": "é"}\r\n')
    assert main(["topic", "produce", name, str(tmp_path / "rows.jsonl"), *where]) == 0
    assert capfd.readouterr().err == f"2 messages sent to {name} at {broker.address}\n"
    assert main(["topic", "consume", name, *where]) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ['{"a": "é"}', '{"a": 1}']
    assert main(["topic", "consume", name, "--full", "--count", "2", *where]) == 0
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert sorted(one["value"] for one in told) == ['{"a": "é"}', '{"a": 1}']
    assert all(one["key"] is None and one["headers"] == {} and one["timestamp"] > 0 for one in told)
    # An end that is the mark of a transaction is an end.
    producer = kafka.Producer({"bootstrap.servers": broker.address, "transactional.id": name})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(name, b"\xff", b"k", headers=[("h", b"v")])
    producer.commit_transaction(60)
    assert main(["topic", "consume", name, "--full", *where]) == 0
    last = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "xff" in line]
    assert [(one["value"], one["key"], one["headers"]) for one in last] == [("\\xff", "k", {"h": "v"})]
    assert main(["topic", "consume", "not-there", *where]) == 1
    assert f"there is no topic 'not-there' at {broker.address} (there: " in capfd.readouterr().err


def test_status_finds_a_broker_of_another_folder(broker: KafkaBroker, tmp_path: Path, capfd):
    name = broker.create_topic(f"s-{uuid.uuid4().hex}", partitions=3)
    assert main(["status", "--kafka", "--dir", str(tmp_path), "--kafka_port", str(broker.port)]) == 0
    down, other = capfd.readouterr().out.splitlines()
    assert down.startswith("kafka  down, ")
    assert f"{broker.address} has a Kafka broker, topics: " in other and f"(pid {broker.process.pid}, " in other
    assert f"{name} (3 partitions)" in other or " more (" in other
