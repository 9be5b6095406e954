"""Runs a stream until it ends or is asked to, and tells how it went."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.execution import add_parallel_summary
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.report.summary import Summary, summarise
from beamsplit.pipelines.running.drain_limit import DrainLimit
from beamsplit.pipelines.running.interrupt import Interruptible, signals, what_is_left
from beamsplit.pipelines.running.log_lines import tell_summary
from beamsplit.pipelines.running.metrics import read_metrics, watch_rows
from beamsplit.pipelines.running.runner import SettledRunner, started_runner
from beamsplit.pipelines.running.stream_end import StreamEnd, wait_for_end
from beamsplit.pipelines.running.stream_failures import FailuresElsewhere
from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.pipelines.running.stream_limit import StreamLimit
from beamsplit.pipelines.running.stream_news import ShowNews
from beamsplit.pipelines.running.stream_start import TellStart, where_it_begins
from beamsplit.pipelines.running.wiring import build
from beamsplit.pipelines.sinks.files import ErrorFile
from beamsplit.pipelines.sinks.topics import TopicSink
from beamsplit.pipelines.sources.topic import Stream
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.infer.model_news import count_news, read_news
from beamsplit.transforms.kafka.backlog import backlog_of, read_backlog
from beamsplit.transforms.kafka.gaps import read_gaps, write_gaps
from beamsplit.transforms.kafka.group_hold import GroupHold
from beamsplit.transforms.kafka.topic_watch import TopicWatch
from beamsplit.transforms.worker import read_counts
from beamsplit.transforms.write.storage import open_output

if TYPE_CHECKING:
    pass

OK, FAILED, ROWS_FAILED = 0, 1, 3


def run_stream(settled: SettledRunner, job: Job, started: float, ending: Interruptible) -> tuple[int, Summary | None]:
    """Run a stream until it ends or is asked to; (exit code, summary).

    Args:
        settled: the options as the runner has them.
        job: as it is planned.
        started: `time.perf_counter()` when the command began.
        ending: what a signal does.

    Raises:
        Exception: the stream failed; what the group has committed is done, the rest will be read again.
    """
    ending.left, ending.planning = what_is_left(settled.options), False
    source = job.source
    assert isinstance(source, Stream)
    with DrainLimit(source.kafka.stop_file, ending.end):
        end = StreamEnd(source.kafka.stop_file)
        with GroupHold(source.config, source.topic.name, source.kafka.group, source.in_transactions, end.end):
            return _run_held(settled, job, source, started, ending, end)


def _run_held(
    settled: SettledRunner,
    job: Job,
    source: Stream,
    started: float,
    ending: Interruptible,
    end: StreamEnd,
) -> tuple[int, Summary | None]:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    options, beam_args, job_dir = settled.options, settled.beam_args, job.job_dir
    predictions, told_in = job.sinks.predictions, job.sinks.errors.name
    if source.in_transactions:
        from beamsplit.transforms.kafka.errors_file import ErrorsFile
        from beamsplit.transforms.kafka.pinned_starts import pin_starts

        assert isinstance(predictions, TopicSink)
        here = isinstance(job.sinks.errors, ErrorFile) and job_dir is not None
        file = ErrorsFile(str(told_in)) if here else None
        gaps = pin_starts(source.kafka.consumer_group, predictions.topic, source.kafka.start, file)
        source = replace(source, kafka=replace(source.kafka, gaps=tuple(gaps)))
        job = replace(job, source=source)
        if job_dir is not None:
            write_gaps(job_dir, gaps)
    begins = None if options.watching.quiet else where_it_begins(source.kafka)
    with started_runner(options.runner, beam_args, None) as (runner, flags, _):
        try:
            pipeline = beam.Pipeline(runner, PipelineOptions([*flags, *beam_args]))
        except ValueError as error:
            raise UsageError(f"--runner {options.runner.name}: {' '.join(str(error).split())}") from error
        build(pipeline, job, None)
        news = ShowNews(job_dir, options.watching.quiet)
        watched = watch_rows(None if options.watching.quiet else job_dir, backlog=read_backlog)
        limit = StreamLimit(job.max_failed, job_dir, source.kafka.stop_file)
        first = TellFirstFailures(job_dir, told_in)
        topic = TopicWatch(source.config, source.topic, end.end)
        drained = _drained_by_signals(source.kafka.stop_file, options.watching.quiet, ending)
        start = TellStart(source.kafka, begins, options.runner, runner)
        elsewhere = FailuresElsewhere(None if settled.local else runner, end.end)
        with drained, watched, news, limit, first, topic, start, elsewhere:
            result = pipeline.run()
            wait_for_end(result, [] if is_prism(options.runner.name) else source.done_files, end, job_dir)
        if end.reason is None and (told := topic.look_last()) is not None:
            end.end(told)
        counters, inference = read_metrics(result)
        backlog = _backlog(result, job_dir)
    counts = read_counts(job_dir) if job_dir else []
    measured = "rows_read" in counters
    if not measured and counts:
        # A job that was cancelled has no metrics; its workers' own counts are there.
        done, failed = (sum(each) for each in zip(*counts, strict=True))
        counters = {"rows_read": done + failed, "rows_scored": done, "rows_failed": failed}
    if job_dir and job.updating:
        counters["model_updates"], counters["model_updates_refused"] = count_news(read_news(job_dir))
    summary = summarise(
        counters,
        seconds=time.perf_counter() - started,
        worker_rows=[done for done, _ in counts],
        files=[predictions.name],
        errors=told_in,
        plan=job.facts,
        metrics=inference,
        backlog=backlog,
    )
    if job_dir:
        summary.tell_failures(read_tallies(job_dir))
        summary.tell_gaps(read_gaps(job_dir))
    if measured:
        add_parallel_summary(summary, job.execution, counters, inference)
    if not options.watching.quiet:
        tell_summary(summary)
    if options.watching.summary:
        with open_output(options.watching.summary) as file:
            file.write(summary.to_json().encode() + b"\n")
    if (line := summary.last_line()) is not None:
        print(line, file=sys.stderr)
    if (passed := limit.passed(summary)) is not None:
        print(f"error: the stream was ended: {passed}", file=sys.stderr)
        return FAILED, summary
    if (reason := end.reason) is not None:
        print(f"error: the stream was ended: {reason}", file=sys.stderr)
        return FAILED, summary
    return ROWS_FAILED if (summary.rows_failed or summary.told_gaps) and told_in is None else OK, summary


@contextlib.contextmanager
def _drained_by_signals(stop_file: str | None, quiet: bool, ending: Interruptible) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP let sources on this machine end; a second one interrupts."""
    if stop_file is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = Path(stop_file)
    asked = False

    def drain(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            ending(number, frame)
            return
        asked = True
        stop.touch()
        if not quiet:
            print("draining: what was read is scored and committed; once more interrupts", file=sys.stderr)

    before = {number: signal.signal(number, drain) for number in signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _backlog(result: Any, job_dir: str | None) -> int | None:
    """What the readers told last: in the job's folder, else by their gauges."""
    told = read_backlog(job_dir) if job_dir else None
    if told is not None:
        return told
    gauges = result.metrics().query().get("gauges", [])
    return backlog_of({one.key.metric.name: one.result.value for one in gauges if one.result is not None})
