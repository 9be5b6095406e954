from __future__ import annotations

import io
import json
import threading
from types import SimpleNamespace

import pytest
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metricbase import MetricName

from beamsplit.pipelines.report.summary import Progress, Summary, plan_lines, root_cause, summarise
from beamsplit.pipelines.running.metrics import read_metrics
from beamsplit.transforms.kafka.gaps import Gap


def test_what_is_gone_of_a_topic_is_in_the_summary():
    summary = summarise({"messages_lost": 60}, seconds=1.0)
    summary.tell_gaps([])  # of workers elsewhere, whose metrics tell how many
    assert summary.messages_lost == 60 and summary.told_gaps
    assert summary.lines()[1] == "lost     60 messages at most"
    again = Gap("in", 0, 100, 150, 400)
    summary.tell_gaps([again, again._replace(next=160), Gap("in", 1, 100, 0, 20)])
    assert summary.messages_lost == 60 and len(summary.gaps) == 3
    assert summary.lines()[2].startswith("gap      in/0: offsets 100 to 149 are gone")
    anew = summarise({}, seconds=1.0)
    assert not anew.told_gaps
    anew.tell_gaps([Gap("in", 1, 100, 0, 20)])
    assert anew.told_gaps and anew.messages_lost == 0 and json.loads(anew.to_json())["gaps"] == anew.gaps


def test_summary_of_counters():
    counters = {"rows_read": 90, "rows_unreadable": 10, "rows_scored": 85, "rows_failed": 5, "read_usec": 1_500_000}
    summary = summarise(counters, seconds=4.0, worker_rows=[40, 45], files=["a", "b", "c", "d"], errors="e.jsonl")
    assert (summary.rows_in, summary.rows_scored, summary.rows_failed) == (100, 85, 15)
    assert summary.stage_seconds == {"read": 1.5} and summary.rows_per_second == 25
    assert summary.lines() == [
        "rows     100 in, 85 scored, 15 failed",
        "time     4.00 s, 25 rows/s",
        "stages   read 1.50 s (all workers together)",
        "workers  0: 40, 1: 45 rows",
        "written  a, b, c and 1 more",
        "errors   e.jsonl",
    ]
    assert json.loads(summary.to_json())["worker_rows"] == [40, 45]


def test_rows_of_workers_that_were_dealt_are_those_of_the_partition():
    counters = {"rows_of_worker_0": 3, "rows_of_worker_2": 7}
    assert summarise(counters, worker_rows=[10, 0]).worker_rows == [3, 0, 7]


def test_an_empty_summary():
    assert Summary().lines() == ["rows     0 in, 0 scored, 0 failed", "time     0.00 s, 0 rows/s"]


class Watched(io.StringIO):
    """A stream that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "\n" in text:
            self.told.set()
        return written


def test_plain_lines_where_there_is_no_terminal():
    stream = Watched()
    # What is there when it begins is of an earlier run, and says nothing of how fast this one is.
    counted = iter([(0, 0)])
    with Progress(lambda: next(counted, (1200, 30)), 5000, stream, line_seconds=0.001):
        assert stream.told.wait(300)
    first = stream.getvalue().splitlines()[0]
    assert first.startswith("1,200 of 5,000 rows, ") and first.endswith(" s left, 30 failed") and " rows/s, " in first


def test_no_line_before_it_is_time():
    stream = io.StringIO()
    with Progress(lambda: (1, 0), 5, stream, line_seconds=3600):
        pass
    assert stream.getvalue() == ""


def test_without_a_total_there_is_no_time_left():
    line = Progress(lambda: (7, 0), None, io.StringIO()).line()
    assert line.startswith("7 rows, ") and " left" not in line


def test_the_thread_ends_with_the_block_also_when_it_fails():
    progress = Progress(lambda: (0, 0), None, io.StringIO(), line_seconds=3600)
    with pytest.raises(ZeroDivisionError), progress:
        _ = 1 / 0
    assert not any(thread.name == "progress" for thread in threading.enumerate())


WORKER = """Traceback (most recent call last):
  File "/x/common.py", line 1512, in process
ValueError: inner: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/x/sdk_worker.py", line 311, in _execute
    response = task()
  File "/x/steps.py", line 4, in late
RuntimeError: the step broke: badly
and says more [while running 'infer/ParDo(_Apply)']
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  two [while running '0: infer/ParDo(_Apply)']"), "two"),
        (ValueError(), "ValueError"),
        (RuntimeError(WORKER), "the step broke: badly"),
        (RuntimeError('Traceback\n  File "x.py", line 1\npkg.errors.UsageError: no column'), "no column"),
    ],
)
def test_root_cause(error: BaseException, line: str):
    assert root_cause(error) == line


def test_a_zero_that_beam_gives_as_none_counts_as_zero():
    def told(name: str, committed: int | None, attempted: int | None) -> MetricResult:
        return MetricResult(MetricKey("step", MetricName("beamsplit", name)), committed, attempted)

    counters = [told("rows_failed", 0, None), told("rows_read", 3, None), told("rows_read", None, 4)]
    result = SimpleNamespace(metrics=lambda: SimpleNamespace(query=lambda: {"counters": counters, "distributions": []}))
    assert read_metrics(result) == ({"rows_failed": 0, "rows_read": 7}, {})


def test_the_plan_as_text():
    assert plan_lines({"input": "1 file", "outputs": ["a", "b"]}, ["made dynamic"]) == [
        "input    1 file",
        "outputs  a",
        "         b",
        "note: made dynamic",
    ]


@pytest.mark.parametrize(
    ("steps", "done", "shown"),
    [
        ([0, 0, 0], 0, "step 1 of 3: 0 of 90 rows"),
        ([30, 0, 0], 0, "step 1 of 3: 30 of 90 rows"),
        ([90, 60, 0], 0, "step 2 of 3: 60 of 90 rows"),
        ([90, 90, 30], 30, "30 of 90 rows"),
        ([40], 40, "40 of 90 rows"),
    ],
)
def test_steps_with_workers_of_their_own_show_progress_from_their_first_block(steps: list[int], done: int, shown: str):
    progress = Progress(lambda: (done, 0), 90, io.StringIO(), steps=lambda: steps)
    assert progress.line().startswith(f"{shown}, ")


def test_what_earlier_steps_have_done_counts_for_the_time_left(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(lambda: (0, 0), 100, io.StringIO(), steps=lambda: [100, 0])
    monkeypatch.setattr("beamsplit.pipelines.report.summary.time.monotonic", lambda: progress._started + 10)
    assert progress.line() == "step 1 of 2: 100 of 100 rows, 5 rows/s, 10 s left, 0 failed"
