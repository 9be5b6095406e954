from __future__ import annotations

import pytest

from beamsplit.transforms.kafka.begins import Begin, describe_begins, find_begins
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.offsets import Group
from tests.transforms.kafka.topic_command import Broker


def begins(*committed: bool) -> list[Begin]:
    return [Begin(at, 10 * at + 5, one) for at, one in enumerate(committed)]


@pytest.mark.parametrize(
    ("given", "start", "said"),
    [
        ((), "latest", "partition none"),
        ((True,), "latest", "partition 0 at offset 5"),
        ((False,), "latest", "partition 0 at offset 5 (latest)"),
        ((False, True), "committed", "partition 0 at offset 5 (earliest), 1 at 15"),
        ((False, True), "earliest", "partition 0 at offset 5 (earliest), 1 at 15"),
        ((True, False), 1700, "partition 0 at offset 5, 1 at 15 (messages of 1700 ms)"),
        (
            (True,) * 8,
            "latest",
            "partition 0 at offset 5, 1 at 15, 2 at 25, 3 at 35, 4 at 45, 5 at 55, 6 at 65, 7 at 75",
        ),
        ((True,) * 9, "latest", "9 partitions: 9 where the group is"),
        ((False,) * 9, "latest", "9 partitions: 9 at their latest"),
        ((False,) * 7 + (True,) * 2, 5, "9 partitions: 2 where the group is, 7 at their messages of 5 ms"),
    ],
)
def test_where_partitions_begin_in_words(given: tuple[bool, ...], start: str | int, said: str):
    assert describe_begins(begins(*given), start) == said


def test_partitions_of_a_new_group_begin_as_asked():
    broker = Broker()
    broker.send(b"1", b"2", b"3", partition=1)
    broker.send(b"4", partition=3)
    topic = broker.uri()
    group = Group(ClientConfig(topic.split("/")[2]), "in", "g")
    found = {start: find_begins(group, start) for start in ("earliest", "latest")}
    assert found == {
        "earliest": [Begin(at, 0, False) for at in range(4)],
        "latest": [Begin(at, end, False) for at, end in enumerate([0, 3, 0, 1])],
    }
