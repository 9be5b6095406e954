"""When the offsets of a reader are committed whose messages other workers score."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from apache_beam.utils.timestamp import MAX_TIMESTAMP

from beamsplit.transforms.kafka import offsets
from beamsplit.transforms.kafka import reader as module
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.coverage import Coverage
from beamsplit.transforms.kafka.reader import COVER_SECONDS, KafkaReader
from beamsplit.transforms.kafka.source import KafkaSource


def test_what_a_checkpoint_finalizes_is_covered_by_the_next():
    coverage = Coverage({0: 0, 1: 5})
    rounds = [coverage.ended({0: end, 1: 5}) for end in (10, 20)]
    assert [coverage.finalized(one) for one in rounds] == [None, None]
    assert coverage.offsets == {0: 0, 1: 5}
    rounds = [coverage.ended({0: end, 1: 5 + end}) for end in (30, 40)]
    assert [coverage.finalized(one) for one in rounds] == [{0: 20, 1: 5}, None]
    assert coverage.offsets == {0: 20, 1: 5}


def test_a_reader_that_reads_no_more_is_covered_after_some_rounds_and_told_once():
    coverage = Coverage({0: 0})
    told = [coverage.finalized(coverage.ended({0: 10})) for _ in range(5)]
    assert told == [None, {0: 10}, None, None, None]


def test_a_bundle_that_ends_while_others_are_finalized_covers_those_that_were_before():
    coverage = Coverage({0: 0})
    first, second = coverage.ended({0: 10}), coverage.ended({0: 20})
    assert coverage.finalized(first) is None
    between = coverage.ended({0: 30})
    assert coverage.finalized(second) is None
    assert coverage.finalized(between) == {0: 10}
    assert coverage.finalized(coverage.ended({0: 40})) == {0: 30}


def test_word_that_comes_late_covers_nothing_that_was_read_behind_the_next_barrier():
    """`late` ends behind barrier 2, before the reader hears of checkpoint 1: no checkpoint has it before the third."""
    coverage = Coverage({0: 0})
    first = coverage.ended({0: 10})
    late = coverage.ended({0: 20})
    assert coverage.finalized(first) is None
    after = coverage.ended({0: 30})
    # Checkpoint 2 is kept: its barrier was behind the first only.
    assert [coverage.finalized(late), coverage.finalized(after)] == [None, {0: 10}]
    assert coverage.finalized(coverage.ended({0: 40})) == {0: 30}


def test_word_out_of_order_covers_no_less():
    coverage = Coverage({0: 0})
    first, second = coverage.ended({0: 10}), coverage.ended({0: 20})
    assert [coverage.finalized(second), coverage.finalized(first)] == [None, None]
    third, fourth = coverage.ended({0: 30}), coverage.ended({0: 40})
    assert [coverage.finalized(fourth), coverage.finalized(third)] == [{0: 20}, None]


def test_a_round_without_a_bundle_changes_nothing():
    coverage = Coverage({0: 7})
    assert coverage.finalized(coverage.ended({0: 7})) is None
    assert coverage.finalized(coverage.ended({0: 7})) is None
    assert coverage.offsets == {0: 7}


def test_a_reader_ends_when_the_outputs_of_what_it_read_are_there(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=slept.append))
    committed: list[dict[int, int]] = []
    monkeypatch.setattr(offsets.COMMITTER, "commit", lambda group, positions: committed.append(dict(positions)))
    source = KafkaSource(ClientConfig("h:1"), Topic("h:1", "in"), "g", part=0, distributed=True, until_end=True)
    reader = KafkaReader(source, {0: 3})
    reader._consumer, reader._cover = Ended(), Coverage({0: 3})
    reader.offsets, reader._done = {0: 7}, True
    for _ in range(2):
        assert not reader.advance() and reader.get_watermark() != MAX_TIMESTAMP
        assert committed == []
        reader.get_checkpoint_mark().finalize_checkpoint()
    assert committed == [{0: 7}] and slept == [COVER_SECONDS] * 2
    assert not reader.advance() and reader.get_watermark() == MAX_TIMESTAMP
    assert slept == [COVER_SECONDS] * 2


class Ended:
    """A consumer of which nobody asks anything but the backlog."""

    def get_watermark_offsets(self, position: object, cached: bool) -> tuple[int, int]:
        return 0, 7

    def position(self, asked: list[object]) -> list[object]:
        return []
