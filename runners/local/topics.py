"""Topics of a Kafka broker from the command line: made, filled with lines, and shown."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from beamsplit.runners.errors import RunnerError

SECONDS = 10.0
"""How long a broker may take to answer."""

AT_ONCE = 500
"""Messages that are taken from a consumer at a time."""


def client() -> Any:
    """The confluent_kafka module.

    Raises:
        RunnerError: it is not installed.
    """
    try:
        import confluent_kafka.admin
    except ImportError as error:
        raise RunnerError(
            "topics want confluent-kafka, which is not installed: pip install 'beamsplit[kafka]'"
        ) from error
    return confluent_kafka


def topics_of(broker: str, seconds: float = SECONDS) -> dict[str, int]:
    """The topics of a broker, `host:port`, with their numbers of partitions; its own are left out.

    Raises:
        RunnerError: it does not answer as a Kafka broker.
    """
    kafka = client()
    admin = kafka.admin.AdminClient({"bootstrap.servers": broker, "log_level": 0})
    try:
        found = admin.list_topics(timeout=seconds).topics
    except kafka.KafkaException as error:
        raise RunnerError(
            f"no Kafka broker answers at {broker} ({error.args[0].str()}); start one (python -m runners.local up "
            "--kafka), or name another with --broker"
        ) from error
    return {name: len(topic.partitions) for name, topic in sorted(found.items()) if not name.startswith("__")}


def create_topic(broker: str, name: str, partitions: int) -> None:
    """Make a topic.

    Raises:
        RunnerError: there is one of that name, or the broker does not take it.
    """
    kafka = client()
    there = topics_of(broker)
    if name in there:
        raise RunnerError(f"the topic {name!r} is there already at {broker}, with {counted(there[name], 'partition')}")
    admin = kafka.admin.AdminClient({"bootstrap.servers": broker, "log_level": 0})
    try:
        admin.create_topics([kafka.admin.NewTopic(name, partitions)], operation_timeout=30)[name].result(60)
    except kafka.KafkaException as error:
        raise RunnerError(f"{broker} does not make the topic {name!r}: {error.args[0].str()}") from error


def produce_lines(broker: str, name: str, lines: Iterable[bytes]) -> int:
    """Send each line as a message, empty ones left out; gives how many.

    Raises:
        RunnerError: there is no such topic, or a message is not taken.
    """
    kafka = client()
    check_topic(broker, name)
    refused: list[str] = []

    def report(error: Any, message: Any) -> None:
        if error is not None:
            refused.append(error.str())

    producer = kafka.Producer({"bootstrap.servers": broker, "linger.ms": 5, "log_level": 0})
    sent = 0
    for line in lines:
        text = line.rstrip(b"\r\n")
        if not text:
            continue
        while True:
            try:
                producer.produce(name, text, on_delivery=report)
                break
            except BufferError:  # more is waiting than the client keeps
                producer.poll(0.1)
            except kafka.KafkaException as error:
                raise RunnerError(f"message {sent + 1} cannot be sent: {error.args[0].str()}") from error
        sent += 1
        producer.poll(0)
        if refused:
            break
    left = producer.flush(60)
    if refused or left:
        why = refused[0] if refused else "the broker does not answer"
        raise RunnerError(f"{len(refused) + left:,} of {sent:,} messages were not taken by {name!r}: {why}")
    return sent


def consume(broker: str, name: str, count: int | None, follow: bool, latest: bool = False) -> Iterator[Any]:
    """The messages of a topic: of each partition in order.

    Args:
        broker: `host:port`.
        name: of the topic.
        count: how many at most, waited for; None for all that are there now.
        follow: wait for more, for ever.
        latest: begin with what comes from now on.

    Raises:
        RunnerError: there is no such topic, or the broker goes away.
    """
    kafka = client()
    partitions = check_topic(broker, name)
    consumer = kafka.Consumer(
        {
            "bootstrap.servers": broker,
            # A name that the client asks for, and no group: nothing is committed, nothing is seen by others.
            "group.id": "runners.local",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    with contextlib.closing(consumer):
        ends = {}
        places = []
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(kafka.TopicPartition(name, partition), timeout=SECONDS)
            places.append(kafka.TopicPartition(name, partition, high if latest else low))
            ends[partition] = high
        consumer.assign(places)
        unread = {place.partition for place in places if place.offset < ends[place.partition]}
        given = 0
        while count is None or given < count:
            if count is None and not follow and not unread:
                return
            for message in consumer.consume(AT_ONCE if count is None else min(AT_ONCE, count - given), 0.2):
                if message.error() is not None:
                    # The last offsets may be marks of transactions, which are no messages.
                    if message.error().code() != kafka.KafkaError._PARTITION_EOF:
                        raise RunnerError(f"{name!r} cannot be read: {message.error().str()}")
                    unread.discard(message.partition())
                    continue
                if message.offset() + 1 >= ends[message.partition()]:
                    unread.discard(message.partition())
                given += 1
                yield message


def check_topic(broker: str, name: str) -> int:
    """The number of its partitions.

    Raises:
        RunnerError: there is no such topic; with those that there are.
    """
    there = topics_of(broker)
    if name not in there:
        known = ", ".join(there) or "none"
        raise RunnerError(
            f"there is no topic {name!r} at {broker} (there: {known}); make it with python -m runners.local topic "
            f"create {name}"
        )
    return there[name]


def shown(message: Any) -> bytes:
    """A message's value, as a line."""
    return (message.value() or b"") + b"\n"


def shown_whole(message: Any) -> bytes:
    """A message with all that comes with it, as a line of JSON.

    Bytes that are no UTF-8 are told by escapes.
    """
    _, time = message.timestamp()
    told = {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": time,
        "key": _text(message.key()),
        "headers": {name: _text(value) for name, value in message.headers() or ()},
        "value": _text(message.value()),
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def counted(number: int, what: str) -> str:
    """A number with its noun.

    >>> counted(1, "topic"), counted(2, "topic")
    ('1 topic', '2 topics')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
