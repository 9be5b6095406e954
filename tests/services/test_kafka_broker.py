from __future__ import annotations

import uuid

import pytest

from beamsplit.runners.errors import RunnerError
from beamsplit.runners.local import KafkaBroker
from tests.waiting import DEADLINE, wait_until

kafka = pytest.importorskip("confluent_kafka")


def produce(broker: KafkaBroker, topic: str, value: bytes) -> None:
    producer = kafka.Producer({"bootstrap.servers": broker.address})
    delivered = []
    producer.produce(topic, value, on_delivery=lambda error, message: delivered.append((error, message.offset())))
    assert producer.flush(DEADLINE) == 0 and delivered[0][0] is None


def consume(broker: KafkaBroker, topic: str, count: int) -> list[bytes]:
    consumer = kafka.Consumer(
        {"bootstrap.servers": broker.address, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, DEADLINE)]
    finally:
        consumer.close()


def test_a_broker_that_was_killed_comes_back_with_its_messages(broker: KafkaBroker):
    topic = broker.create_topic(f"t-{uuid.uuid4().hex}", partitions=2)
    produce(broker, topic, b"before")
    address, pid = broker.address, broker.process.pid
    broker.kill()
    assert broker.process.pid is None
    broker.start()
    assert broker.address == address and broker.process.pid not in (None, pid)
    produce(broker, topic, b"after")
    assert sorted(consume(broker, topic, 2)) == [b"after", b"before"]
    broker.stop()
    assert broker.process.pid is None
    broker.start()
    assert len(consume(broker, topic, 2)) == 2


@pytest.mark.parametrize(("password", "told"), [("right", False), ("wrong", True)])
def test_users_and_passwords(broker: KafkaBroker, password: str, told: bool):
    errors: list[object] = []
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "alice"}
    consumer = kafka.Consumer(
        {
            "bootstrap.servers": broker.sasl_address,
            "group.id": "g",
            "sasl.password": password,
            "error_cb": errors.append,
            **options,
        }
    )
    try:
        if told:
            with pytest.raises(kafka.KafkaException):
                consumer.list_topics(timeout=2)

            def refused() -> bool:
                consumer.poll(0.1)
                return any("uthentication" in str(error) for error in errors)

            wait_until(refused, "the broker refuses the password")
        else:
            assert consumer.list_topics(timeout=120).brokers
    finally:
        consumer.close()


def test_topics_are_not_made_by_accident(broker: KafkaBroker):
    producer = kafka.Producer({"bootstrap.servers": broker.address, "message.timeout.ms": 1000})
    failed = []
    producer.produce(f"none-{uuid.uuid4().hex}", b"x", on_delivery=lambda error, _: failed.append(error))
    producer.flush(DEADLINE)
    assert failed and failed[0] is not None


def test_a_taken_port_is_told(broker: KafkaBroker, tmp_path):
    holder = f"port {broker.port} is taken .pid {broker.process.pid}, "
    with pytest.raises(RunnerError, match=f"{holder}.*: end that, or choose another with --kafka_port"):
        KafkaBroker(tmp_path, port=broker.port).start()
