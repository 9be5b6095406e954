"""Rows that were scored and cannot be delivered: errors, counts, and what ends a job."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beamsplit.pipelines.running.stream_end import StreamEnd, wait_for_end
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.ending import JobEndsError, ending, why_it_ends
from beamsplit.transforms.kafka.errors import SendErrors, error_headers, error_json, error_messages, shorter
from beamsplit.transforms.kafka.limits import TopicLimits, batch_bytes, known_limits
from beamsplit.transforms.kafka.rows import SendRowErrors, SendRows
from beamsplit.transforms.kafka.sink import SendBlocksDoFn, WriteMessages
from beamsplit.transforms.worker import read_counts, this_worker
from tests.transforms.kafka.brokers import FakeBroker, settings
from tests.transforms.kafka.delivering import BAD_RECORD, HERE, OUT, TOO_LARGE, predictions
from tests.waiting import DEADLINE

CONFIG, BAD = ClientConfig(HERE), Topic(HERE, "bad")


def refuse_long(topic: str, value: bytes, key: Any, time: int) -> int | None:
    return TOO_LARGE if len(value) > 20 else None


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("write", [WriteMessages, SendRows])
def test_rows_that_the_topic_will_not_take_are_failed_and_not_scored(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool, write: Any
):
    if known:
        settings(monkeypatch, out=TopicLimits(bytes=200))
    fake_broker.verdict = lambda topic, value, key, time: TOO_LARGE if len(value) > 100 else None
    blocks = [predictions("a", "b" * 150), predictions("c" * 150, "d")]
    this_worker(str(tmp_path)).add(4, 0)
    with beam.Pipeline("FnApiRunner") as pipeline:
        made = pipeline | beam.Create(blocks, reshuffle=False).with_output_types(pa.RecordBatch)
        errors = made | write(CONFIG, OUT, "json", str(tmp_path))
        told = errors | beam.Map(lambda error: (error.file, error.row, error.stage, "topic 'out'" in error.reason))
        assert_that(told, equal_to([("in/0", 1, "write", True), ("in/0", 0, "write", True)]))
    result = pipeline.result
    counters = {one.key.metric.name: one.committed for one in result.metrics().query()["counters"]}
    assert (counters["rows_failed"], counters["rows_scored"]) == (2, -2)
    assert sorted(fake_broker.log) == [("out", b'{"y":"a"}'), ("out", b'{"y":"d"}')]
    assert [sum(each) for each in zip(*read_counts(str(tmp_path)), strict=True)] == [2, 2]
    assert read_tallies(str(tmp_path)).by_stage() == {"write": 2}


@pytest.mark.parametrize("send", [SendErrors, SendRowErrors])
def test_an_error_that_its_topic_refuses_is_shortened_then_ends_the_job(
    fake_broker: FakeBroker, tmp_path: Path, send: Any
):
    step = send(CONFIG, BAD, str(tmp_path))._dofn
    fake_broker.verdict = lambda topic, value, key, time: TOO_LARGE if len(value) > 250 else None
    step.start_bundle()
    step.process(RowError("in/3", 17, "read", "long " * 100))
    step.process(RowError("in/3", 18, "read", "short"))
    step.finish_bundle()
    told = sorted((json.loads(line) for _, line in fake_broker.log), key=lambda one: len(one["reason"]))
    assert [one["reason"] for one in told] == ["short", ("long " * 100)[:97] + "..."]
    assert why_it_ends(str(tmp_path)) is None
    fake_broker.verdict = lambda *_: BAD_RECORD
    step.start_bundle()
    step.process(RowError("in/3", 19, "read", "short"))
    with pytest.raises(JobEndsError, match=r"^--errors kafka://127.0.0.1:1/bad: .*topic 'bad' refuses it"):
        step.finish_bundle()
    assert "topic 'bad' refuses it" in (why_it_ends(str(tmp_path)) or "")
    step.teardown()


@pytest.mark.parametrize("reason", ["r" * 500, "é" * 500, '"\n' * 200, "\ud800" * 90, "short", ""])
@pytest.mark.parametrize("most", [220, 300, 2000])
def test_an_error_fits_where_its_reason_can_be_cut(monkeypatch: pytest.MonkeyPatch, reason: str, most: int):
    settings(monkeypatch, bad=TopicLimits(bytes=most))
    error = RowError("in/3", 17, "read", reason)
    made = error_messages(error_json(error), error_headers(error), BAD, known_limits(CONFIG, BAD))
    assert batch_bytes(*made.one(0)[:3]) <= most
    told = json.loads(made.values[0])
    assert (told["topic"], told["partition"], told["offset"], told["stage"]) == ("in", 3, 17, "read")
    kept = told["reason"].removesuffix("...")
    assert json.loads(error_json(error))["reason"].startswith(kept)


def test_an_error_that_cannot_be_made_to_fit_tells_topic_size_limit_and_the_fix(monkeypatch: pytest.MonkeyPatch):
    settings(monkeypatch, bad=TopicLimits(bytes=100))
    error = RowError("in/3", 17, "read", "r" * 500)
    with pytest.raises(JobEndsError) as told:
        error_messages(error_json(error), error_headers(error), BAD, known_limits(CONFIG, BAD))
    assert str(told.value).startswith("--errors kafka://127.0.0.1:1/bad: ") and "\n" not in str(told.value)
    assert "bytes, and topic 'bad' takes 100 (max.message.bytes)" in str(told.value)
    assert "kafka-configs.sh --alter" in str(told.value) and "or name another topic or a file" in str(told.value)


def test_what_fits_is_not_cut():
    line = error_json(RowError("in/3", 17, "read", "no JSON"))
    assert shorter(line, len(line)) == line
    assert len(shorter(line, len(line) - 1)) < len(line)


class Result:
    """A job of a runner that tries again for ever, unless it is cancelled."""

    def __init__(self, fails: bool):
        self._cancelled = threading.Event()
        self._fails = fails

    def cancel(self) -> None:
        self._cancelled.set()

    def wait_until_finish(self) -> None:
        assert self._fails or self._cancelled.wait(DEADLINE)
        if self._fails:
            raise ValueError("the bundle failed: a long text of Java's")


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_that_cannot_go_on_is_cancelled_and_tells_why(tmp_path: Path, fails: bool):
    with pytest.raises(JobEndsError), ending(str(tmp_path)):
        raise JobEndsError("topic gone")
    with pytest.raises(JobEndsError, match=r"^topic gone$"):
        wait_for_end(Result(fails), [], StreamEnd(None), str(tmp_path))
    with pytest.raises(ValueError, match="the bundle failed"):
        wait_for_end(Result(True), [], StreamEnd(None), str(tmp_path / "another"))


@pytest.mark.parametrize("spare", [0, 1, -1])
def test_an_error_as_large_as_the_topic_takes_is_not_cut(monkeypatch: pytest.MonkeyPatch, spare: int):
    error = RowError("in/3", 17, "read", "r" * 500)
    line, headers = error_json(error), error_headers(error)
    most = batch_bytes(line, None, headers) + spare
    settings(monkeypatch, bad=TopicLimits(bytes=most))
    (made,) = error_messages(line, headers, BAD, known_limits(CONFIG, BAD)).values
    assert (made == line) == (spare >= 0)


def test_a_bundle_after_one_that_failed_has_a_producer_of_its_own(fake_broker: FakeBroker):
    send = SendBlocksDoFn(CONFIG, OUT, "json")
    send.teardown()
    send.start_bundle()
    assert list(send.process(predictions("a"))) == [] and len(fake_broker.made) == 1
    send.start_bundle()  # that one failed: what it handed over is made again
    assert len(fake_broker.made) == 2
    assert list(send.process(predictions("b"))) == [] and send.finish_bundle() == []
    send.start_bundle()
    assert list(send.process(predictions("c"))) == [] and send.finish_bundle() == []
    send.teardown()
    assert len(fake_broker.made) == 2 and fake_broker.log == [("out", b'{"y":"b"}'), ("out", b'{"y":"c"}')]
    send.start_bundle()
    assert len(fake_broker.made) == 3
