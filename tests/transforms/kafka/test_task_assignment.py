from __future__ import annotations

import pytest

from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.source import KafkaSource
from beamsplit.transforms.kafka.task_assignment import Seat, SeatCoder, flink_task, seats


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (2, [1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 1]),
        (3, [2, 0, 0, 0, 0, 2, 0, 2, 2, 0, 1, 1]),
        (7, [6, 1, 0, 1, 2, 4, 0, 6, 5, 1, 4, 4]),
        (100, [49, 62, 7, 60, 66, 35, 3, 48, 92, 62, 28, 28]),
    ],
)
def test_tasks_are_those_that_flink_gives(tasks: int, expected: list[int]):
    # Printed by Flink 1.19: KeyGroupRangeAssignment.assignKeyToParallelOperator of ByteBuffers C8 01 and these bytes.
    assert [flink_task(bytes((i * n + i) % 256 for i in range(200)), tasks) for n in range(12)] == expected


@pytest.mark.parametrize("readers", [1, 2, 3, 16])
def test_each_part_has_a_task_of_its_own_and_comes_back_whole(readers: int):
    source = KafkaSource(ClientConfig("here:1"), Topic("here:1", "in"), "g", readers=readers)
    parts = list(source.split(readers))
    made = seats(parts)
    assert sorted(flink_task(seat.encoded, readers) for seat in made) == list(range(readers))
    coder = SeatCoder()
    again: list[Seat] = [coder.decode(coder.encode(seat)) for seat in made]
    assert [one for seat in again for one in seat.split(20)] == parts
    assert {partition % readers for partition in range(64)} == {part.part for part in parts}
