from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.handover import HANDOVER, Handover
from beamsplit.transforms.kafka.offsets import COMMITTER, OffsetsMark
from beamsplit.transforms.kafka.reader import KafkaReader
from beamsplit.transforms.kafka.source import KafkaSource

SOURCE = KafkaSource(ClientConfig("here:1"), Topic("here:1", "in"), "g", part=0)


class Idle:
    """A reader that leaves its name."""

    def __init__(self, name: str, offsets: dict[int, int]):
        self.name, self.offsets = name, offsets

    def leave(self) -> dict[str, Any]:
        return {"name": self.name}


def test_a_reader_is_taken_once_and_only_where_it_has_come_to():
    handover = Handover()
    handover.put("a", Idle("first", {0: 7}))
    assert handover.take("b", {0: 7}) is None
    assert handover.take("a", {0: 6}) is None
    assert handover.take("a", {0: 7}) == {"name": "first"}
    assert handover.take("a", {0: 7}) is None


def test_a_reader_that_goes_on_by_itself_is_not_taken():
    handover, first, second = Handover(), Idle("first", {}), Idle("second", {})
    handover.put("a", first)
    handover.remove("a", second)
    handover.remove("a", first)
    assert handover.take("a", {}) is None


class Consumer:
    closed = False

    def position(self, asked: list[object]) -> list[object]:
        return []

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Consumer]]:
    """The consumers that readers open; a block has one message of partition 0."""
    made: list[Consumer] = []

    def open_consumer(self: KafkaReader) -> None:
        self._consumer = Consumer()
        made.append(self._consumer)
        COMMITTER.add(SOURCE.consumer_group, self._consumer)

    def next_block(self: KafkaReader) -> bool:
        assert not self._consumer.closed
        self._between_bundles = False
        self.offsets[0] = self.offsets.get(0, 0) + 1
        return True

    monkeypatch.setattr(KafkaReader, "_open", open_consumer)
    monkeypatch.setattr(KafkaReader, "_next", next_block)
    monkeypatch.setattr(KafkaReader, "_backlog", lambda self: {})
    yield made
    HANDOVER.__init__()  # type: ignore[misc]


def next_bundle(mark: OffsetsMark) -> KafkaReader:
    """What Beam does where another instance of the step runs the next bundle."""
    coder = SOURCE.get_checkpoint_mark_coder()
    return SOURCE.create_reader(None, coder.decode(coder.encode(mark)))


def test_the_next_bundle_goes_on_with_the_consumer_whoever_runs_it(opened: list[Consumer]):
    first = SOURCE.create_reader(None, None)
    first.start()
    mark = first.get_checkpoint_mark()
    second = next_bundle(mark)
    assert second.start() and second.offsets == {0: 2}
    first.close()
    assert len(opened) == 1 and not opened[0].closed
    second.get_checkpoint_mark()
    second.close()
    assert opened[0].closed
    next_bundle(mark).start()
    assert len(opened) == 2


def test_a_reader_that_beam_kept_takes_its_consumer_back(opened: list[Consumer]):
    first = SOURCE.create_reader(None, None)
    first.start()
    second = next_bundle(first.get_checkpoint_mark())
    second.start()
    first.offsets = dict(second.offsets)
    second.get_checkpoint_mark()
    assert first.advance() and second._consumer is None
    assert len(opened) == 1
    first.close()
    second.close()
    assert opened[0].closed


def test_a_mark_that_is_older_reads_again_with_a_consumer_of_its_own(opened: list[Consumer]):
    first = SOURCE.create_reader(None, None)
    first.start()
    old = first.get_checkpoint_mark()
    first.advance()
    first.get_checkpoint_mark()
    again = next_bundle(old)
    again.start()
    assert again.offsets == {0: 2} and len(opened) == 2
    for reader in (first, again):
        reader.close()
