"""Where partitions begin, by mark, group, time and the log's ends, and what a finalized bundle commits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beamsplit.transforms.kafka import offsets
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.offsets import Group, OffsetsMark, OffsetsMarkCoder
from tests.transforms.kafka.brokers import kafka

HERE = "127.0.0.1:1"
GROUP = Group(ClientConfig(HERE), "t", "g")
NONE = -1001


class Consumer:
    """Of partitions 0, 1, ...: logs from `low` to `high`, and what else is asked for.

    Args:
        group: committed offset of each partition; `NONE` where there is none.
        fails: errors that come instead of an answer, one each time.
    """

    low, high = (10, 20, 30), (15, 25, 35)

    def __init__(self, group: tuple[int, ...] = (NONE, NONE, NONE), fails: tuple[int, ...] = ()):
        self.group, self.fails = group, list(fails)
        self.asked: list[Any] = []
        self.at = {0: 12, 1: 21, 2: 35}
        self.committed_now: list[Any] = []
        self.closed = False

    def _answer(self) -> None:
        if self.fails:
            raise kafka.KafkaException(kafka.KafkaError(self.fails.pop(0)))

    def committed(self, asked: Any, timeout: float) -> Any:
        self._answer()
        self.asked += [("committed", one.partition) for one in asked]
        return [Position(one.partition, self.group[one.partition]) for one in asked]

    def offsets_for_times(self, asked: Any, timeout: float) -> Any:
        self.asked += [("times", one.partition, one.offset) for one in asked]
        return [Position(one.partition, self.low[one.partition] + 1 if one.partition else -1) for one in asked]

    def get_watermark_offsets(self, position: Any, timeout: float = 0, cached: bool = False) -> tuple[int, int]:
        if cached and position.partition == 1:
            return (NONE, NONE)
        return self.low[position.partition], self.high[position.partition]

    def position(self, asked: Any) -> Any:
        return [Position(one.partition, self.at[one.partition]) for one in asked]

    def list_topics(self, topic: str, timeout: float) -> Any:
        from types import SimpleNamespace as Found

        return Found(topics={topic: Found(error=None, partitions=dict.fromkeys(range(3)))})

    def poll(self, timeout: float) -> None:
        self.asked.append("poll")

    def close(self) -> None:
        self.closed = True


class Position:
    def __init__(self, partition: int, offset: int):
        self.partition, self.offset, self.metadata = partition, offset, f"m{partition}" if offset >= 0 else None


@pytest.mark.parametrize(
    ("group", "mark", "start", "wanted", "asked"),
    [
        ((NONE,) * 3, {}, "earliest", {0: 10, 1: 20, 2: 30}, [0, 1, 2]),
        ((NONE,) * 3, {}, "committed", {0: 10, 1: 20, 2: 30}, [0, 1, 2]),
        ((NONE,) * 3, {}, "latest", {0: 15, 1: 25, 2: 35}, [0, 1, 2]),
        ((0, NONE, 33), {}, "latest", {0: 0, 1: 25, 2: 33}, [0, 1, 2]),
        ((0, 22, 33), {1: 7}, "latest", {0: 0, 1: 7, 2: 33}, [0, 2]),
        ((0, 22, 33), {0: 1, 1: 2, 2: 3, 9: 9}, "latest", {0: 1, 1: 2, 2: 3}, []),
        ((NONE, 22, NONE), {}, 1_700, {0: 15, 1: 22, 2: 31}, [0, 1, 2]),
        ((NONE, NONE, NONE), {}, 1_700, {0: 15, 1: 21, 2: 0}, [0, 1, 2]),
    ],
)
def test_where_partitions_begin(
    group: tuple[int, ...], mark: dict[int, int], start: str | int, wanted: dict[int, int], asked: list[int]
) -> None:
    consumer = Consumer(group)
    consumer.low = (10, 20, wanted[2] - 1 if isinstance(start, int) else 30)
    assert offsets.first_offsets(consumer, "t", [0, 1, 2], mark, start) == wanted
    assert [one[1] for one in consumer.asked if one[0] == "committed"] == asked
    times = [one[1:] for one in consumer.asked if one[0] == "times"]
    assert times == ([(one, 1_700) for one in range(3) if group[one] < 0] if isinstance(start, int) else [])


def test_what_the_group_has() -> None:
    consumer = Consumer((0, NONE, 33))
    assert [offsets.committed_end(consumer, "t", one) for one in range(3)] == [0, None, 33]
    assert [offsets.committed_metadata(consumer, "t", one) for one in range(3)] == ["m0", "", "m2"]


def test_ends_and_positions_that_are_known() -> None:
    consumer = Consumer()
    assert offsets.end_offsets(consumer, "t", 2) == (30, 35)
    assert offsets.known_ends(consumer, "t", [0, 1, 2]) == {0: 15, 1: NONE, 2: 35}
    assert offsets.positions_beyond(consumer, "t", {0: 11, 1: 21, 2: 36}) == {0: 12}
    assert offsets.positions_beyond(consumer, "t", {}) == {}


def test_a_broker_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, refused = kafka.KafkaError._TRANSPORT, kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
    consumer = Consumer((4, NONE, NONE), fails=(away, away))
    assert offsets.committed_end(consumer, "t", 0) == 4
    assert consumer.asked == ["poll", "poll", ("committed", 0)]
    assert [one.getMessage().split(" (")[0] for one in caplog.records] == ["kafka://t does not answer"] * 2
    with pytest.raises(kafka.KafkaException):
        offsets.committed_end(Consumer(fails=(refused,)), "t", 0)
    monkeypatch.setattr(offsets, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(kafka.KafkaException):
        offsets.committed_end(Consumer(fails=(away,)), "t", 0)


@pytest.mark.parametrize("commits", [True, False])
def test_who_asks_for_the_groups_offsets(monkeypatch: pytest.MonkeyPatch, commits: bool) -> None:
    made: list[Any] = []

    def make(config: ClientConfig, **own: Any) -> Consumer:
        made.append((Consumer(), own))
        return made[-1][0]

    monkeypatch.setattr(offsets, "make_consumer", make)
    reader = Consumer()
    with offsets.asking(Group(ClientConfig(HERE), "t", "g", commits), reader) as one:
        assert one is (reader if commits else made[0][0])
    if not commits:
        ((other, own),) = made
        assert own["group_id"] == "g" and own["isolation_level"] == "read_uncommitted" and other.closed
    assert (made == []) == commits and not reader.closed


def test_gaps_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer((10, NONE, 3))
    monkeypatch.setattr(offsets, "make_consumer", lambda config, **own: consumer)
    (gap,) = offsets.committed_gaps(GROUP)
    assert (gap.partition, gap.lost, gap.next) == (2, 27, 30) and consumer.closed
    consumer = Consumer((0, NONE, NONE))
    (gap,) = offsets.committed_gaps(GROUP)
    assert (gap.partition, gap.begin, gap.lost) == (0, 0, 10) and consumer.closed


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("done", [None, "there/done", "gone/done"])
def test_what_a_finalized_bundle_commits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commits: bool, changed: bool, done: str | None
) -> None:
    (tmp_path / "there").mkdir()
    told: list[Any] = []
    monkeypatch.setattr(offsets.COMMITTER, "commit", lambda group, at: told.append((group, at)))
    group = Group(ClientConfig(HERE), "t", "g", commits)
    OffsetsMark(group, {1: 5}, changed, None if done is None else str(tmp_path / done)).finalize_checkpoint()
    assert told == ([(group, {1: 5})] if commits and (changed or done) else [])
    assert (tmp_path / "there" / "done").exists() == (done == "there/done") and not (tmp_path / "gone").exists()


def test_a_bundle_commits_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(offsets.COMMITTER, "commit", lambda group, at: told.append(at))
    OffsetsMark(Group(ClientConfig(HERE), "t", "g"), {1: 5}).finalize_checkpoint()
    assert told == [{1: 5}]


@pytest.mark.parametrize("commits", [True, False])
def test_what_checkpoints_cover_is_committed(monkeypatch: pytest.MonkeyPatch, commits: bool) -> None:
    told: list[Any] = []
    monkeypatch.setattr(offsets.COMMITTER, "commit", lambda group, at: told.append(at))

    class Covers:
        answers: list[Any]

        def ended(self, offsets: Any) -> int:
            return 7

        def finalized(self, end: int) -> Any:
            assert end == 7
            return self.answers.pop(0)

    covers: Any = Covers()
    covers.answers = [None, {0: 3}]
    group = Group(ClientConfig(HERE), "t", "g", commits)
    for _ in range(2):
        OffsetsMark(group, {0: 9}, True, None, covers).finalize_checkpoint()
    assert told == ([{0: 3}] if commits else [])


def test_marks_travel_as_they_are() -> None:
    coder = OffsetsMarkCoder(GROUP)
    mark = OffsetsMark(GROUP, {10: 5, 2: 7}, False, "d")
    encoded = coder.encode(mark)
    back = coder.decode(encoded)
    assert (back.group, back.offsets, back.changed, back.done_file) == (GROUP, {10: 5, 2: 7}, False, "d")
    assert coder.encode(OffsetsMark(GROUP, {2: 7, 10: 5}, False, "d")) == encoded == coder.encode(back)
    assert coder.encode(OffsetsMark(GROUP, {2: 7, 10: 5}, True, "d")) != encoded and coder.is_deterministic()


def test_the_open_consumer_commits_else_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Committing(Consumer):
        def commit(self, offsets: Any, asynchronous: bool) -> None:
            # Who closes a consumer right after it waits for the answer.
            assert asynchronous == (self not in made)
            self.committed_now += [(one.topic, one.partition, one.offset) for one in offsets]

    def make(config: ClientConfig, **own: Any) -> Consumer:
        assert own["group_id"] == "g"
        made.append(Committing())
        return made[-1]

    monkeypatch.setattr(offsets, "make_consumer", make)
    committer, live = offsets.Committer(), Committing()
    committer.add(GROUP, live)
    committer.commit(GROUP, {0: 5})
    assert (live.committed_now, made) == ([("t", 0, 5)], [])
    committer.remove(GROUP, live)
    committer.commit(GROUP, {1: 6})
    assert [(one.committed_now, one.closed) for one in made] == [([("t", 1, 6)], True)]
    committer.commit(GROUP, {})
    committer.forbid(GROUP)
    committer.commit(GROUP, {1: 7})
    assert len(made) == 1 and not live.closed
