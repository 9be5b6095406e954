"""Errors that come in place of messages: which are waited for, which tell of an end or a gap, which end the job."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("confluent_kafka")

from confluent_kafka import KafkaError, KafkaException

from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.gaps import Gap
from beamsplit.transforms.kafka.outside import Outside, read_on
from tests.transforms.kafka.fakes import Message, failure

TOPIC = Topic("b:1", "in")
GONE = KafkaError.UNKNOWN_TOPIC_OR_PART


class Logs:
    """Logs of partitions: (first offset, end), or why they do not tell."""

    def __init__(self, **logs: Any):
        self.logs = {int(name[1:]): log for name, log in logs.items()}
        self.assigned: list[tuple[str, int, int]] = []

    def get_watermark_offsets(self, position: Any, timeout: float) -> tuple[int, int]:
        log = self.logs[position.partition]
        if isinstance(log, int):
            raise KafkaException(KafkaError(log))
        return log

    def incremental_assign(self, positions: Any) -> None:
        self.assigned += [("read", one.partition, one.offset) for one in positions]

    def incremental_unassign(self, positions: Any) -> None:
        self.assigned += [("leave", one.partition, one.offset) for one in positions]


def heed(outside: Outside, *messages: Message) -> dict[int, int]:
    reached: dict[int, int] = {}
    for message in messages:
        outside.heed(message, reached)
    return reached


def test_ends_are_noted_and_what_may_pass_is_waited_for():
    outside = Outside(TOPIC, False)
    passing = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)
    assert heed(outside, Message(4), *map(failure, passing), failure(KafkaError._PARTITION_EOF, 9, 2)) == {2: 9}
    assert not outside and list(outside.find(Logs(), {})) == []


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION])
def test_an_offset_that_the_log_has_not_is_a_gap_once(code: int):
    outside = Outside(TOPIC, False)
    assert heed(outside, failure(code, 5, 0), failure(code, 50, 1), failure(code, 3, 2), failure(code, 2, 3)) == {}
    assert outside
    logs = Logs(p0=(8, 20), p1=(0, 7), p2=(0, 20), p3=(0, 20))
    found = list(outside.find(logs, {0: 4, 1: 50, 2: 3, 3: 6}))
    # Where it is: the further of what the reader knows and what the brokers say.
    assert found == [
        (0, 5, Gap("in", 0, 5, 8, 20)),
        (1, 50, Gap("in", 1, 50, 0, 7)),
        (2, 3, None),
        (3, 6, None),
    ]
    assert not outside and list(outside.find(logs, {})) == []


def test_brokers_that_do_not_tell_are_asked_again():
    outside = Outside(TOPIC, False)
    heed(outside, failure(KafkaError._AUTO_OFFSET_RESET, 5, 0), failure(KafkaError._AUTO_OFFSET_RESET, 5, 1))
    assert [at for at, *_ in outside.find(Logs(p0=KafkaError._TRANSPORT, p1=(0, 9)), {0: 5, 1: 5})] == [1]
    assert outside
    assert [at for at, *_ in outside.find(Logs(p0=(0, 9)), {0: 5, 1: 5})] == [0]


@pytest.mark.parametrize("patient", [True, False])
def test_a_topic_that_is_gone_is_waited_for_where_somebody_else_finds_out(patient: bool):
    outside = Outside(TOPIC, patient)
    heed(outside, failure(KafkaError._AUTO_OFFSET_RESET, 5, 0))
    if patient:
        assert heed(outside, failure(GONE)) == {} and list(outside.find(Logs(p0=GONE), {0: 5})) == [] and outside
        return
    for happens in (lambda: heed(outside, failure(GONE)), lambda: list(outside.find(Logs(p0=GONE), {0: 5}))):
        with pytest.raises(RuntimeError, match=r"^--input kafka://b:1/in: "):
            happens()


@pytest.mark.parametrize("patient", [True, False])
def test_what_waiting_does_not_mend_ends_the_job(patient: bool):
    outside = Outside(TOPIC, patient)
    heed(outside, failure(KafkaError._AUTO_OFFSET_RESET, 5, 0))
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    for happens in (lambda: heed(outside, failure(denied)), lambda: list(outside.find(Logs(p0=denied), {0: 5}))):
        with pytest.raises(RuntimeError, match=r"^--input kafka://b:1/in: .*[Aa]uthorization"):
            happens()


def test_a_partition_is_read_on_from_another_offset():
    logs = Logs()
    read_on(logs, "in", 3, 17)
    assert logs.assigned == [("leave", 3, 17), ("read", 3, 17)]
