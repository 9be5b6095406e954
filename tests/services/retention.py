"""What takes messages from a topic before they are read, as tests bring it about."""

from __future__ import annotations

from tests.services.streams import Stream
from tests.waiting import DEADLINE


def commit(stream: Stream, group: str, **offsets: int) -> None:
    """Set a group's offsets: p0=100."""
    import confluent_kafka as kafka

    stream.positions(
        group
    )  # on a broker that is new there is no coordinator yet, for which a commit would wait for ever
    consumer = kafka.Consumer({"bootstrap.servers": stream.broker.address, "group.id": group})
    positions = [kafka.TopicPartition(stream.input, int(name[1:]), offset) for name, offset in offsets.items()]
    consumer.commit(offsets=positions, asynchronous=False)
    consumer.close()


def delete_below(stream: Stream, partition: int, offset: int) -> None:
    """What retention does, at once."""
    import confluent_kafka as kafka
    from confluent_kafka.admin import AdminClient

    position = kafka.TopicPartition(stream.input, partition, offset)
    admin = AdminClient({"bootstrap.servers": stream.broker.address})  # without one, its answers do not come
    admin.delete_records([position])[position].result(DEADLINE)
