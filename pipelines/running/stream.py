"""Runs a planned stream until it ends or is asked to, and tells how it went."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.models.running.run_limit import ending_with
from beamsplit.pipelines.execution.execution import add_parallel_summary
from beamsplit.pipelines.execution.stream_split import check_checkpoints
from beamsplit.pipelines.job.stream import StreamJob, plan_stream
from beamsplit.pipelines.options.beam import check_beam_options
from beamsplit.pipelines.options.stream import check_stream
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, say, summarise
from beamsplit.pipelines.running.drain_limit import DrainLimit
from beamsplit.pipelines.running.interrupt import Interruptible, interruptible, signals, what_is_left
from beamsplit.pipelines.running.job_folder import job_folder
from beamsplit.pipelines.running.launch import read_metrics, watch_rows
from beamsplit.pipelines.running.runner import SettledRunner, more_options, settle_runner, started_runner
from beamsplit.pipelines.running.stream_end import StreamEnd, wait_for_end
from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.pipelines.running.stream_limit import StreamLimit
from beamsplit.pipelines.running.stream_news import ShowNews
from beamsplit.pipelines.running.stream_start import TellStart, where_it_begins
from beamsplit.pipelines.running.wiring import run_steps, side_workers
from beamsplit.runners.direct import is_direct
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.infer.model_news import count_news, read_news
from beamsplit.transforms.kafka.backlog import backlog_of, read_backlog
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.gaps import read_gaps, write_gaps
from beamsplit.transforms.kafka.group_hold import GroupHold
from beamsplit.transforms.kafka.topic_watch import TopicWatch
from beamsplit.transforms.worker import read_counts
from beamsplit.transforms.write.storage import open_output

if TYPE_CHECKING:
    import apache_beam as beam

OK, FAILED, ROWS_FAILED = 0, 1, 3


def launch_stream(options: ScoreOptions, beam_args: Sequence[str], started: float) -> tuple[int, Summary | None]:
    """Plan and run a stream; (exit code, summary).

    Args:
        options: of the job.
        beam_args: options for Beam.
        started: `time.perf_counter()` when the command began.

    Raises:
        UsageError: the stream cannot work; nothing was started.
        Exception: the stream failed; what the group has committed is done, the rest will be read again.
    """
    check_stream(options)
    check_checkpoints(options.parallelism, beam_args)
    if is_direct(options.runner.name):
        options = replace(options, runner=replace(options.runner, name="PrismRunner"))
    beam_args = [*beam_args, *(["--streaming"] if "--streaming" not in beam_args else [])]
    settled = settle_runner(options, beam_args)
    options, local = settled.options, settled.local
    check_beam_options(settled.beam_args, more_options(options.runner.name))
    if options.sink.max_failed is not None and not local:
        raise UsageError(
            f"--max_failed {options.sink.max_failed.text} of a stream counts on workers of this machine, and --runner "
            f"{options.runner.name} has them elsewhere; leave it out"
        )
    with interruptible() as ending, ending_with(ending.end), job_folder() as folder:
        job_dir = folder if local else None
        job = plan_stream(options, job_dir, is_prism(options.runner.name))
        for note in job.notes:
            if not options.watching.quiet and not options.watching.dry_run_plan:
                print(f"note: {note}", file=sys.stderr)
        if options.watching.dry_run_plan:
            say(job.lines())
            return OK, None
        ending.left, ending.planning = what_is_left(options), False
        with DrainLimit(job.source.stop_file, ending.end):
            return _run(settled, job, job_dir, started, ending)


def _run(
    settled: SettledRunner,
    job: StreamJob,
    job_dir: str | None,
    started: float,
    ending: Interruptible,
) -> tuple[int, Summary | None]:
    end = StreamEnd(job.source.stop_file)
    source, once = job.source, job.transaction_seconds is not None
    with GroupHold(job.config, source.topic.name, source.group, once, end.end):
        return _run_held(settled, job, job_dir, started, ending, end)


def _run_held(
    settled: SettledRunner,
    job: StreamJob,
    job_dir: str | None,
    started: float,
    ending: Interruptible,
    end: StreamEnd,
) -> tuple[int, Summary | None]:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    options, rest = settled.options, settled.beam_args
    if job.transaction_seconds is not None:
        from beamsplit.transforms.kafka.transactions import pin_starts

        gaps = pin_starts(job.source.consumer_group, job.output, job.source.start)
        job = replace(job, source=replace(job.source, gaps=tuple(gaps)))
        if job_dir is not None:
            write_gaps(job_dir, gaps)
    begins = None if options.watching.quiet else where_it_begins(job.source)
    with started_runner(options.runner, rest, None) as (runner, flags, _):
        try:
            pipeline = beam.Pipeline(runner, PipelineOptions([*flags, *rest]))
        except ValueError as error:
            raise UsageError(f"--runner {options.runner.name}: {' '.join(str(error).split())}") from error
        build_stream(pipeline, job)
        news = ShowNews(job_dir, options.watching.quiet)
        watched = watch_rows(None if options.watching.quiet else job_dir, backlog=read_backlog)
        limit = StreamLimit(options.sink.max_failed, job_dir, job.source.stop_file)
        first = TellFirstFailures(job_dir, str(job.errors) if job.errors else None)
        topic = TopicWatch(job.config, job.source.topic, end.end)
        drained = _drained_by_signals(job.source.stop_file, options.watching.quiet, ending)
        start = TellStart(job, begins, options.runner, runner)
        with drained, watched, news, limit, first, topic, start:
            result = pipeline.run()
            wait_for_end(result, [] if is_prism(options.runner.name) else job.done_files, end, job_dir)
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
        files=[str(job.output)],
        errors=str(job.errors) if job.errors else None,
        plan=job.facts,
        metrics=inference,
        backlog=backlog,
    )
    if job_dir:
        summary.tell_failures(read_tallies(job_dir))
        summary.tell_gaps(read_gaps(job_dir))
    if measured:
        add_parallel_summary(summary, job.divided, counters, inference)
    if not options.watching.quiet:
        say(summary.lines())
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
    return ROWS_FAILED if (summary.rows_failed or summary.told_gaps) and not job.errors else OK, summary


def build_stream(pipeline: beam.Pipeline, job: StreamJob) -> None:
    """Wire the stream into an empty pipeline.

    topic -> messages -> parse -> prepare -> infer -> finish -> topic
                           |         |         |        |
                           +---------+---------+--------+-----> errors

    With transactions all behind the first arrow is one step.
    """
    import apache_beam as beam

    from beamsplit.transforms.apply import CountedStep
    from beamsplit.transforms.kafka.errors import AppendErrors, SendErrors, ShowErrors
    from beamsplit.transforms.kafka.exactly_once import ScoreInTransactions
    from beamsplit.transforms.kafka.gap_errors import TakeGaps
    from beamsplit.transforms.kafka.sink import WriteMessages
    from beamsplit.transforms.kafka.source import ReadMessages

    ends = side_workers(job.divided)
    blocks = pipeline | "Read" >> ReadMessages(job.source).with_resource_hints(**ends.before)
    job_dir = job.infer.job_dir
    steps = [("read", job.parse), *(("prepare", step) for step in job.prepare), ("infer", job.updating or job.infer)]
    steps += [("finish", step) for step in job.finish]
    if job.transaction_seconds is not None:
        counted = [CountedStep(step, stage, job_dir, step is steps[-1][1]) for stage, step in steps]
        topic = job.errors if isinstance(job.errors, Topic) else None
        group, seconds = job.source.consumer_group, job.transaction_seconds
        scored = ScoreInTransactions(counted, group, job.output, job.output_format, topic, seconds, job_dir)
        errors = blocks | "Score" >> scored
        if topic is None:
            errors | "Write errors" >> (AppendErrors(str(job.errors)) if job.errors else ShowErrors())
        return
    blocks, gaps = blocks | "Gaps" >> TakeGaps(job_dir).with_resource_hints(**ends.before)
    blocks, failed = run_steps(blocks, steps, job.divided, job_dir, ends)
    write = WriteMessages(job.config, job.output, job.output_format, job_dir)
    refused = blocks | "Write" >> write.with_resource_hints(**ends.behind)
    errors = (*failed, refused, gaps) | "Errors" >> beam.Flatten()
    if isinstance(job.errors, Topic):
        send = SendErrors(job.config, job.errors, job_dir)
        errors | "Write errors" >> send.with_resource_hints(**ends.behind)
    elif job.errors:
        errors | "Write errors" >> AppendErrors(job.errors).with_resource_hints(**ends.behind)
    else:
        errors | "Show errors" >> ShowErrors().with_resource_hints(**ends.behind)


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
