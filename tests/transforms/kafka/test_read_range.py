from __future__ import annotations

from types import SimpleNamespace

import confluent_kafka as kafka
import pytest

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.kafka import ranges
from beamsplit.transforms.kafka.clients import ClientErrors
from beamsplit.transforms.kafka.gaps import GapFoundError, gaps_of
from beamsplit.transforms.kafka.ranges import OffsetRange, read_range
from tests.transforms.kafka.fakes import LogConsumer, failure


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time goes on by a second a look."""
    made = SimpleNamespace(now=0.0)

    def monotonic() -> float:
        made.now += 1.0
        return made.now

    monkeypatch.setattr(ranges, "time", SimpleNamespace(monotonic=monotonic))
    return made


def read(log: LogConsumer, begin: int, end: int, on_gap: str = "continue") -> tuple[list[int], list[tuple[int, int]]]:
    """(offsets of the messages, [begin, end) of what was gone)."""
    offsets, gone = [], []
    for block in read_range(log, "in", OffsetRange(0, begin, end), ClientErrors(), on_gap):
        offsets += block.column(ORIGIN_ROW).to_pylist()
        gone += [(gap.begin, gap.next) for gap in gaps_of(block)]
    return offsets, gone


def test_a_range_is_read_from_its_begin_to_before_its_end():
    log = LogConsumer(range(1000))
    assert read(log, 300, 900) == (list(range(300, 900)), [])
    assert log.asked == [300] and log._at is None


def test_a_range_of_one_and_a_range_at_the_end():
    assert read(LogConsumer(range(10)), 4, 5) == ([4], [])
    assert read(LogConsumer(range(10)), 9, 10) == ([9], [])
    assert read(LogConsumer(range(10)), 10, 10) == ([], [])


def test_messages_behind_the_range_are_another_ranges():
    """Where offsets are missing, as many messages as there are offsets reach beyond the end."""
    assert read(LogConsumer([0, 4, 5, 6, 7]), 0, 5) == ([0, 4], [])


def test_holes_are_no_gaps():
    """Of messages that were compacted away, of transactions that were aborted, and of the marks behind the last."""
    assert read(LogConsumer([3, 7, 20], high=25), 0, 25) == ([3, 7, 20], [])
    assert read(LogConsumer([], high=6), 0, 6) == ([], [])


def test_an_end_before_the_ranges_is_that_of_a_broker_that_follows():
    log = LogConsumer(range(5))

    def catch_up() -> None:
        log.offsets, log.high = list(range(8)), 8

    log.then = [lambda: None, lambda: None, catch_up]
    assert read(log, 0, 8) == (list(range(8)), [])


@pytest.mark.parametrize(
    ("low", "found"),
    [(150, (list(range(150, 200)), [(100, 150)])), (200, ([], [(100, 200)])), (230, ([], [(100, 200)]))],
)
def test_what_is_gone_is_told_and_the_rest_is_read(low: int, found: tuple[list[int], list[tuple[int, int]]]):
    assert read(LogConsumer(range(low, 300), low, 300), 100, 200) == found


def test_what_goes_in_mid_range_is_told_from_where_reading_was():
    log = LogConsumer(range(1000))

    def retain() -> None:
        log.low, log.offsets = 700, list(range(700, 1000))

    log.then = [lambda: None, retain]
    offsets, gone = read(log, 0, 1000)
    assert offsets == [*range(256), *range(700, 1000)] and gone == [(256, 700)]


def test_what_is_gone_ends_the_job_where_it_is_told_to():
    with pytest.raises(GapFoundError, match=r"in/0: offsets 100 to 149 are gone.*type --on_gap continue"):
        read(LogConsumer(range(150, 300), 150), 100, 200, "fail")


@pytest.mark.parametrize("on_gap", ["continue", "fail"])
def test_a_topic_that_was_made_anew_meanwhile_ends_the_job(on_gap: str):
    with pytest.raises(GapFoundError, match=r"ends at offset 20, below 100, .* made anew.*start it again"):
        read(LogConsumer(range(20)), 100, 200, on_gap)


def test_a_topic_that_was_deleted_is_told():
    log = LogConsumer(range(5))
    log.topics = None
    with pytest.raises(RuntimeError, match="--input in: the topic was deleted while it was read"):
        read(log, 0, 9)


def test_a_broker_that_is_silent_for_too_long(clock: SimpleNamespace):
    with pytest.raises(RuntimeError, match=r"does not answer any more \(nothing came at offset 5, below 9\)"):
        read(LogConsumer(range(5)), 0, 9)
    assert ranges.PATIENCE_SECONDS < clock.now < 1.5 * ranges.PATIENCE_SECONDS


def test_a_refusal_ends_the_job_and_a_broker_that_is_away_does_not():
    log = LogConsumer(range(5))
    log.extra = [failure(kafka.KafkaError._TRANSPORT)]
    assert read(log, 0, 5) == ([0, 1, 2, 3, 4], [])
    log.extra = [failure(kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    with pytest.raises(RuntimeError, match=r"--input in, partition 0, offset 0: .*[Aa]uthorization"):
        read(log, 0, 5)


def test_a_client_that_can_do_no_more_ends_the_job():
    errors = ClientErrors()
    errors.fatal = "fenced"
    with pytest.raises(RuntimeError, match=r"does not answer any more \(fenced\)"):
        list(read_range(LogConsumer([], high=0), "in", OffsetRange(0, 0, 9), errors))
