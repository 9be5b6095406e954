"""What a reader does where messages are gone, or partitions were added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka as kafka
import pytest

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.kafka import offsets as offsets_module
from beamsplit.transforms.kafka import reader as module
from beamsplit.transforms.kafka.blocks import ranges_of
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.ending import JobEndsError
from beamsplit.transforms.kafka.gaps import Gap, gaps_of
from beamsplit.transforms.kafka.reader import KafkaReader
from beamsplit.transforms.kafka.source import KafkaSource
from beamsplit.transforms.kafka.stopping import Ending, end_stream, why_ended
from tests.transforms.kafka.fakes import LogConsumer, failure

Block = tuple[list[int], list[tuple[int, int]]]


class Reading:
    """A reader of a log."""

    def __init__(self, log: LogConsumer, stop: Path, mark: dict[int, int], **more: Any):
        self.log, self.stop_file = log, str(stop)
        given = {"part": 0, "idle_seconds": 0.001, "latency_seconds": 0.0, "stop_file": self.stop_file, **more}
        self.reader = KafkaReader(KafkaSource(ClientConfig("h:1"), Topic("h:1", "in"), "g", **given), mark)
        self.ranges: list[dict[int, tuple[int, int]]] = []

    def blocks(self, tries: int = 6) -> list[Block]:
        """(offsets, gaps) of the blocks of so many tries."""
        found = []
        for number in range(tries):
            if self.reader.start() if number == 0 and self.reader._consumer is None else self.reader.advance():
                block = self.reader.get_current()
                self.reader.get_current_timestamp()
                gaps = [(gap.begin, gap.next) for gap in gaps_of(block)]
                found.append((block.column(ORIGIN_ROW).to_pylist(), gaps))
                if self.reader._source.transactional:
                    self.ranges.append(ranges_of(block))
        return found


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    made: list[Reading] = []

    def make(log: LogConsumer, mark: dict[int, int] | None = None, **more: Any) -> Reading:
        monkeypatch.setattr(module, "reading_consumer", lambda *_: log)
        monkeypatch.setattr(offsets_module, "make_consumer", lambda *_, **__: log)
        monkeypatch.setattr(module, "COVER_SECONDS", 0.0)
        made.append(Reading(log, tmp_path / "stop", mark or {}, **more))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


@pytest.mark.parametrize("until_end", [False, True])
@pytest.mark.parametrize("transactional", [False, True])
def test_what_was_gone_before_the_start_is_told_with_the_messages_behind_it(reading, until_end, transactional):
    log = LogConsumer(range(150, 153), 150, group=100, eof=until_end)
    one = reading(log, until_end=until_end, transactional=transactional)
    blocks = one.blocks()
    assert [at for offsets, _ in blocks for at in offsets] == [150, 151, 152]
    assert [gap for _, gaps in blocks for gap in gaps] == [(100, 150)]
    assert one.reader.offsets == {0: 153} and log.asked[-1] == 150
    if transactional:
        # The offsets that are gone are done too, and none is left out.
        assert [ranges[0] for ranges in one.ranges] in ([(100, 153)], [(100, 150), (150, 153)])


@pytest.mark.parametrize("transactional", [False, True])
def test_a_log_without_any_message_tells_too(reading, transactional):
    one = reading(LogConsumer([], 150, 150, group=100, eof=False), transactional=transactional)
    assert one.blocks() == [([], [(100, 150)])]
    assert one.reader.offsets == {0: 150} and one.reader.get_checkpoint_mark().changed


def test_what_goes_while_it_is_read_is_told_from_where_reading_was(reading):
    log = LogConsumer(range(110), group=100, eof=False)
    one = reading(log)
    assert one.blocks(1) == [(list(range(100, 110)), [])]
    log.offsets, log.low, log.high = list(range(130, 140)), 130, 140
    assert one.blocks(3) == [([], [(110, 130)]), (list(range(130, 140)), [])]


def test_messages_before_a_gap_in_one_block_are_read(reading):
    log = LogConsumer(range(100, 110), group=100, eof=False)
    log.extra = [failure(kafka.KafkaError._AUTO_OFFSET_RESET, 104)]
    one = reading(log)
    log.low, log.offsets = 107, [107, 108, 109]
    # Marks of a transaction were passed up to 104: those are not gone.
    assert one.blocks(2)[0] == ([], [(104, 107)])


def test_an_offset_that_is_there_after_all_is_read_on(reading):
    log = LogConsumer(range(100, 103), group=100, eof=False)
    log.extra = [failure(kafka.KafkaError._AUTO_OFFSET_RESET, 100)]
    assert reading(log).blocks(3) == [([100, 101, 102], [])]


@pytest.mark.parametrize("until_end", [False, True])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning(reading, until_end):
    one = reading(LogConsumer(range(20), group=100, eof=until_end), until_end=until_end)
    blocks = one.blocks()
    assert [at for offsets, _ in blocks for at in offsets] == list(range(20))
    assert [gap for _, gaps in blocks for gap in gaps] == [(100, 0)]
    assert one.reader.offsets == {0: 20} and one.reader._done == until_end


@pytest.mark.parametrize("until_end", [False, True])
@pytest.mark.parametrize("log", [LogConsumer(range(150, 153), 150, group=100), LogConsumer(range(20), group=100)])
def test_a_stream_ends_at_a_gap_if_it_is_told_to_and_commits_nothing_behind_it(reading, log: LogConsumer, until_end):
    log.eof = until_end
    one = reading(log, on_gap="fail", until_end=until_end)
    assert one.blocks() == []
    ending = why_ended(one.stop_file)
    assert ending is not None and ending.reason.startswith("--on_gap fail: in/0: ") and ending.commit
    assert Path(one.stop_file).exists()
    mark = one.reader.get_checkpoint_mark()
    assert mark.offsets == {0: 100} and mark.done_file is not None


def test_workers_elsewhere_fail_at_a_gap(reading):
    one = reading(LogConsumer(range(150, 153), 150, group=100, eof=False), on_gap="fail", stop_file=None)
    with pytest.raises(JobEndsError, match=r"^--on_gap fail: in/0: offsets 100 to 149"):
        one.blocks()


def test_a_stream_of_transactions_ends_where_the_topic_is_made_anew_meanwhile(reading):
    one = reading(LogConsumer(range(20), group=100, eof=False), transactional=True)
    assert one.blocks() == []
    assert "start it again, which begins there" in why_ended(one.stop_file).reason  # type: ignore[union-attr]


def test_gaps_that_are_known_are_told_by_the_transaction_of_their_partition(reading):
    known = Gap("in", 0, 100, 0, 20)
    log = LogConsumer([], high=0, group=0, eof=False)
    one = reading(log, transactional=True, gaps=(known, known._replace(partition=7)))
    assert one.blocks(2) == []
    log.offsets, log.high = [0, 1], 2
    assert one.blocks(1) == [([0, 1], [(100, 0)])]


def test_marks_of_transactions_are_done_with_the_messages_before_them(reading):
    log = LogConsumer([3, 4], high=6, group=3, eof=False)
    one = reading(log)
    assert one.blocks(3) == [([3, 4], [])]
    mark = one.reader.get_checkpoint_mark()
    assert mark.offsets == {0: 6} and mark.changed and log.get_watermark_offsets(None)[1] == 6


@pytest.mark.parametrize("how", ["stop", "idle", "end"])
def test_a_transaction_commits_the_marks_at_the_end(reading, how: str):
    ways = {"stop": {}, "idle": {"stop_after_idle": 1e-9}, "end": {"until_end": True}}
    one = reading(LogConsumer([3, 4], high=6, group=3, eof=how == "end"), transactional=True, **ways[how])
    if how == "stop":
        one.blocks(3)
        Path(one.stop_file).touch()
        one.reader._looked = 0.0
    # A runner does not ask a reader again that has ended.
    for _ in range(6):
        if not one.reader._ended:
            one.blocks(1)
    assert [ranges[0] for ranges in one.ranges] == [(3, 5), (5, 6)]
    assert one.reader._ended and one.reader.offsets == {0: 6}


def test_a_topic_that_is_gone_is_waited_for_where_the_submitter_looks_after_it(reading):
    log = LogConsumer(range(3), group=0, eof=False)
    one = reading(log)
    log.extra = [failure(kafka.KafkaError.UNKNOWN_TOPIC_OR_PART)]
    assert one.blocks(3) == [([0, 1, 2], [])]
    away = LogConsumer(range(3), group=0, eof=False)
    away.extra = [failure(kafka.KafkaError.UNKNOWN_TOPIC_OR_PART)]
    with pytest.raises(RuntimeError, match="--input kafka://h:1/in: "):
        reading(away, stop_file=None).blocks()
    away.topics = None
    with pytest.raises(RuntimeError, match="the cluster has no such topic any more"):
        reading(away, stop_file=None).blocks()


def test_nothing_is_committed_of_a_topic_that_is_another_one_by_now(reading, monkeypatch):
    forbidden = []
    monkeypatch.setattr(module.COMMITTER, "forbid", forbidden.append)
    one = reading(LogConsumer(range(3), group=0, eof=False))
    one.blocks(1)
    end_stream(one.stop_file, Ending("the topic was deleted", commit=False))
    end_stream(one.stop_file, Ending("and told of once more"))
    one.reader._looked = 0.0
    assert one.blocks(1) == []
    assert forbidden == [one.reader._source.consumer_group]
    assert why_ended(one.stop_file) == Ending("the topic was deleted", commit=False)


@pytest.mark.parametrize("mark", [{}, {1: 5}])
def test_partitions_that_are_added_are_read_from_their_beginning(reading, mark: dict[int, int]):
    """Also where they are found after a restart, or by a reader that had none."""
    log = LogConsumer(range(3), eof=False)
    log.topics = []
    one = reading(log, mark, start="latest")
    assert one.blocks(1) == []
    one.reader._watch.found = [0]
    assert one.blocks(2) == [([0, 1, 2], [])]
    again = LogConsumer(range(3), eof=False)
    found = reading(again, {1: 5}, start="latest")
    assert found.blocks(2) == [([0, 1, 2], [])]
