from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.kafka import reader as module
from beamsplit.transforms.kafka.blocks import VALUE
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.reader import KafkaReader
from beamsplit.transforms.kafka.source import IDLE_WAIT_SECONDS, KafkaSource
from tests.transforms.kafka.fakes import Message


class Consumer:
    """Messages that arrive at given times on a clock of its own; a call takes as long as it waits."""

    def __init__(self, arrivals: list[float]):
        self.now = 100.0
        self.waits: list[tuple[int, float]] = []
        self._left = [(100.0 + at, Message(offset)) for offset, at in enumerate(arrivals)]

    def consume(self, most: int, timeout: float) -> list[Message]:
        self.waits.append((most, round(timeout, 6)))
        end = self.now + timeout
        taken = [one for one in self._left if one[0] <= end][:most]
        self._left = self._left[len(taken) :]
        self.now = max(self.now, taken[-1][0]) if len(taken) == most else end
        return [message for _, message in taken]

    def get_watermark_offsets(self, position: object, cached: bool) -> tuple[int, int]:
        return 0, 0

    def position(self, asked: list[object]) -> list[object]:
        return []


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch):
    """A reader of messages that arrive at given times, with a latency of 20 ms."""

    def made(
        arrivals: list[float], block_rows: int | None = None, distributed: bool = False
    ) -> tuple[KafkaReader, Consumer]:
        consumer = Consumer(arrivals)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: consumer.now))
        source = KafkaSource(
            ClientConfig("h:1"), Topic("h:1", "in"), "g", part=0, block_rows=block_rows, distributed=distributed
        )
        reader = KafkaReader(source, {})
        reader._consumer, reader._handed = consumer, consumer.now
        return reader, consumer

    return made


def test_a_full_block_that_is_there_waits_for_nobody(reading):
    reader, consumer = reading([0.0] * 100, block_rows=64)
    assert reader.advance() and reader.get_current().num_rows == 64
    assert consumer.waits == [(64, 0.0)] and consumer.now == 100.0
    assert reader.offsets == {0: 64}


def test_a_first_message_waits_so_long_for_more_and_no_longer(reading):
    reader, consumer = reading([0.1, 0.11, 0.119, 0.121])
    assert reader.advance()
    assert reader.get_current().column(ORIGIN_ROW).to_pylist() == [0, 1, 2]
    assert consumer.now == pytest.approx(100.12)


def test_messages_that_fill_the_block_end_the_wait(reading):
    reader, consumer = reading([0.1, 0.105, 0.11, 0.12], block_rows=2)
    assert reader.advance() and reader.get_current().num_rows == 2
    assert consumer.now == pytest.approx(100.105)


def test_what_came_while_the_block_before_was_done_waits_only_for_the_rest_of_the_time(reading):
    reader, consumer = reading([0.0, 0.03, 0.033, 0.041], block_rows=8)
    assert reader.advance() and reader.get_current().num_rows == 1
    handed = consumer.now
    consumer.now += 0.015
    assert reader.advance() and reader.get_current().num_rows == 2
    assert consumer.now == pytest.approx(handed + 0.02)
    consumer.now += 0.05
    assert reader.advance() and consumer.waits[-1] == (8, 0.0)


def test_other_workers_are_given_a_block_that_is_not_full_at_once(reading):
    """They see nothing of a bundle before its end; with one worker nothing waits for that."""
    for distributed in (True, False):
        reader, consumer = reading([0.0] * 11, block_rows=4, distributed=distributed)
        sizes = []
        while reader.advance():
            sizes.append(reader.get_current().num_rows)
        assert sizes == [4, 4, 3] and (consumer.waits[-1] != (1, IDLE_WAIT_SECONDS)) == distributed
        reader._between_bundles = True
        assert not reader.advance() and consumer.waits[-1] == (1, IDLE_WAIT_SECONDS)


def test_a_silent_topic_gives_the_bundle_back(reading):
    reader, consumer = reading([])
    assert not reader.advance() and reader.get_current() is None
    assert consumer.waits[1:] == [(1, IDLE_WAIT_SECONDS)]


def test_the_size_that_pays_is_found_from_full_blocks(reading):
    reader, consumer = reading([0.0] * 100_000)
    sizes = []
    for _ in range(12):
        assert reader.advance()
        sizes.append(reader.get_current().num_rows)
        consumer.now += 0.001 + sizes[-1] * 8e-6
    assert sizes[:5] == [256, 256, 512, 1024, 2048] and set(sizes[5:]) <= {1024, 2048}
    assert np.all(np.diff(reader.get_current().column(ORIGIN_ROW).to_numpy()) == 1)
    assert reader.get_current().column(VALUE)[0].as_py() == b"v"
