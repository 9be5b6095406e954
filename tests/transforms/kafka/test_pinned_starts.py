"""Where a job with transactions begins: committed before it runs, where the log is; told where the topic is another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka import pinned_starts
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.errors_file import ErrorsFile
from beamsplit.transforms.kafka.gaps import Gap
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.pinned_starts import pin_starts
from tests.transforms.kafka.brokers import FakeBroker, FakeProducer, kafka
from tests.transforms.kafka.delivering import HERE, OUT

GROUP = Group(ClientConfig(HERE), "in", "g", commits=False)
Log = Mapping[int, tuple[int, int]]


class GroupLog:
    """A group of partitions, each with (first offset, end), as a consumer is told; takes what is committed for it."""

    def __init__(self, log: Log, group: Mapping[int, int]):
        self.log, self.group = log, dict(group)
        self.begun: dict[int, int] = {}
        self.closed = False

    def consumer_group_metadata(self) -> object:
        return object()

    def list_topics(self, topic: str, timeout: float) -> Any:
        from types import SimpleNamespace as Found

        return Found(topics={topic: Found(error=None, partitions=dict.fromkeys(self.log))})

    def committed(self, asked: Sequence[Any], timeout: float) -> list[Any]:
        return [kafka.TopicPartition(at.topic, at.partition, self.group.get(at.partition, -1001)) for at in asked]

    def offsets_for_times(self, asked: Sequence[Any], timeout: float) -> list[Any]:
        """A message an offset and millisecond."""
        return [
            kafka.TopicPartition(at.topic, at.partition, at.offset if at.offset < self.log[at.partition][1] else -1)
            for at in asked
        ]

    def get_watermark_offsets(self, position: Any, timeout: float = 0) -> tuple[int, int]:
        return self.log[position.partition]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch, fake_broker: FakeBroker) -> Any:
    """Pin with this log and group; gives what was told, and the log with what was committed."""

    def run(
        log: Log, group: Mapping[int, int], start: str | int = "earliest", **more: Any
    ) -> tuple[list[Gap], GroupLog]:
        made = GroupLog(log, group)
        monkeypatch.setattr(pinned_starts, "asker", lambda _: made)

        made.begun = fake_broker.done
        try:
            return pin_starts(GROUP, OUT, start, **more), made
        finally:
            made.group.update(fake_broker.done)
            assert made.closed

    return run


@pytest.mark.parametrize(
    ("start", "begins"),
    [("earliest", [3, 0]), ("committed", [3, 0]), ("latest", [9, 5]), (4, [4, 4]), (7, [7, 5])],
)
def test_partitions_without_an_offset_begin_where_they_are_told_to(pinned: Any, start: str | int, begins: list[int]):
    gaps, made = pinned({0: (3, 9), 1: (0, 5)}, {}, start)
    assert gaps == [] and made.group == dict(enumerate(begins))
    assert set(made.begun) == {0, 1}


def test_what_the_group_has_done_stays(pinned: Any):
    """Also where the log begins behind it: the reader tells that, and `--on_gap` decides."""
    gaps, made = pinned({0: (3, 9), 1: (4, 9), 2: (0, 9), 3: (0, 9)}, {0: 5, 1: 2, 2: 9})
    assert gaps == [] and made.group == {0: 5, 1: 2, 2: 9, 3: 0} and made.begun == {3: 0}


def test_where_the_topic_was_made_anew_the_group_goes_to_its_beginning_and_that_is_told(pinned: Any):
    gaps, made = pinned({0: (1, 4), 1: (0, 7)}, {0: 50, 1: 7}, "latest")
    assert gaps == [Gap("in", 0, 50, 1, 4)] and gaps[0].anew
    assert made.group == {0: 1, 1: 7} and made.begun == {0: 1}


def test_no_partition_is_left_open(pinned: Any, monkeypatch: pytest.MonkeyPatch):
    left: list[Any] = []
    real = pinned_starts.Transactions.close
    monkeypatch.setattr(pinned_starts.Transactions, "close", lambda one: (left.append(one), real(one))[1])
    pinned({0: (0, 4), 1: (0, 7)}, {0: 2})
    assert len(left) == 2 and all(one.bundle is None for one in left)


def test_a_broker_that_allows_no_transactions_is_one_line(pinned: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))

    monkeypatch.setattr(FakeProducer, "init_transactions", refuse)
    with pytest.raises(UsageError, match=r"^--delivery exactly_once: in/0: the broker allows no transactions; grant"):
        pinned({0: (0, 4)}, {})


def test_an_errors_file_that_cannot_be_written_is_named(pinned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beamsplit.transforms.kafka.transactions.PendingErrors", full)
    file = ErrorsFile(str(tmp_path / "errors.jsonl"))
    with pytest.raises(UsageError, match=r"^--errors .*errors.jsonl cannot be written: No space left on device$"):
        pinned({0: (0, 4)}, {}, errors=file)
