"""Runs a planned job on a runner, watches it, and tells how it went."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.models.running.run_limit import ending_with, told
from beamsplit.pipelines.execution.execution import add_parallel_summary
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.group import OffsetsNotCommittedError, holding_group
from beamsplit.pipelines.job.job import Job, plan_job
from beamsplit.pipelines.options.beam import check_beam_options
from beamsplit.pipelines.options.stream import check_bounded, check_no_stream
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Progress, Summary, root_cause, say, summarise
from beamsplit.pipelines.running.interrupt import Interruptible, interruptible, what_is_left
from beamsplit.pipelines.running.job_folder import job_folder
from beamsplit.pipelines.running.runner import SettledRunner, dry_run, more_options, settle_runner, started_runner
from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.direct import is_direct, run_direct
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.infer.step import NAMESPACE
from beamsplit.transforms.kafka.config import is_kafka
from beamsplit.transforms.kafka.gaps import read_gaps
from beamsplit.transforms.read.head_start import head_start
from beamsplit.transforms.read.splits import splits_at_once
from beamsplit.transforms.worker import read_counts, read_steps
from beamsplit.transforms.write import remove_temp
from beamsplit.transforms.write.finalize import disown_folders, own_folders
from beamsplit.transforms.write.names import files_of, is_single
from beamsplit.transforms.write.point_of_no_return import give_up
from beamsplit.transforms.write.storage import open_output, remove

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

OK, FAILED, ROWS_FAILED = 0, 1, 3


def launch(
    options: ScoreOptions, beam_args: Sequence[str], build: Callable[..., list[tuple[str, str]]], started: float
) -> tuple[int, Summary | None]:
    """Plan and run a job; (exit code, summary).

    Args:
        options: of the job.
        beam_args: options for Beam.
        build: wires a job into a pipeline.
        started: `time.perf_counter()` when the command began: start-up counts.

    Raises:
        UsageError: the job cannot work; nothing was started.
        Exception: the job failed; nothing is left of what it wrote.
    """
    of_topic = any(map(is_kafka, options.source.input))
    if of_topic and (is_kafka(options.sink.output) or not options.stream.until_end):
        from beamsplit.pipelines.running.stream import launch_stream

        return launch_stream(options, beam_args, started)
    (check_bounded if of_topic else check_no_stream)(options)
    settled = settle_runner(options, beam_args)
    options, local = settled.options, settled.local
    if local and settled.beam_args:
        import_beam()
    check_beam_options(settled.beam_args, more_options(options.runner.name))
    with interruptible() as signals, ending_with(signals.end), job_folder() as folder:
        job_dir = folder if local else None
        job = _planner(of_topic)(options, job_dir, local)
        for note in job.notes:
            if not options.watching.quiet and not options.watching.dry_run_plan:
                print(f"note: {note}", file=sys.stderr)
        if options.watching.dry_run_plan:
            say(job.lines())
            return OK, None
        for gap in job.messages.gaps if job.messages is not None else ():
            print(f"warning: {gap.line}", file=sys.stderr)
        if options.watching.dry_run is not None:
            say(dry_run(options.watching.dry_run, settled.beam_args, build, job))
            return OK, None
        try:
            again = functools.partial(_planner(of_topic), options, job_dir, local)
            with holding_group(job, again) as held, _reading_ahead(held, local):
                code, summary = _run(settled, build, held, job_dir, started, signals)
        except OffsetsNotCommittedError as error:
            told = f"the files are written, but the offsets of --group {options.stream.group} could not be committed"
            print(f"error: {told}, so they would be read again: {root_cause(error)}", file=sys.stderr)
            return FAILED, summary
    return code, summary


def _planner(of_topic: bool) -> Callable[[ScoreOptions, str | None, bool], Job]:
    if not of_topic:
        return plan_job
    from beamsplit.pipelines.job.topic_range import plan_bounded

    return plan_bounded


def _run(
    settled: SettledRunner,
    build: Callable[..., list[tuple[str, str]]],
    job: Job,
    job_dir: str | None,
    started: float,
    signals: Interruptible,
) -> tuple[int, Summary | None]:
    options, rest, local = settled.options, settled.beam_args, settled.local
    if local:
        import_beam()
    import apache_beam as beam

    from beamsplit.runners.beam_patches.quick_options import QuickOptions

    first_errors = _first_errors_path(job, job_dir)
    written: list[tuple[str, str]] = []
    try:
        with started_runner(job.runner, rest, job, job_dir, options.watching.debug) as (runner, flags, workers):
            try:
                pipeline = beam.Pipeline(runner, QuickOptions([*flags, *rest]))
            except ValueError as error:
                raise UsageError(f"--runner {job.runner.name}: {' '.join(str(error).split())}") from error
            if workers is not None and job_dir is not None:
                workers.last_words = partial(told, job_dir)
            written += build(pipeline, job, first_errors)
            if local:
                own_folders(written)
            signals.give_up = lambda: _give_up(written, workers)
            signals.left, signals.planning = what_is_left(options), False
            gc.freeze()
            gc.enable()
            first = TellFirstFailures(job_dir if job.messages is not None else None, job.errors)
            steps = 1 if job.divided.distributed is None else len(job.divided.distributed.steps)
            with watch_rows(None if options.watching.quiet else job_dir, job.total_rows, steps=steps), first:
                if is_direct(job.runner.name):
                    result = run_direct(pipeline, workers, _failure_watch(job, job_dir, signals))
                else:
                    result = pipeline.run()
                    result.wait_until_finish()
            counters, inference = read_metrics(result)
    except BaseException:
        for path, job_id in written:
            give_up(path, job_id)
            remove_temp(path, job_id)
        raise
    finally:
        if local:
            disown_folders(written)
    counts = read_counts(job_dir) if job_dir else []
    summary = summarise(
        counters,
        seconds=time.perf_counter() - started,
        worker_rows=[done for done, _ in counts],
        files=_written(job),
        errors=job.errors,
        plan=job.facts,
        metrics=inference,
    )
    try:
        return _tell(options, job, summary, counters, first_errors), summary
    except OSError as error:  # of a file, or of the standard output: the disk is full, say
        print(f"error: the job is done and its output is written, but not its report: {error}", file=sys.stderr)
        return FAILED, summary


def _tell(options: ScoreOptions, job: Job, summary: Summary, counters: dict[str, int], first_errors: str | None) -> int:
    """Complete the summary of a job that is done, show and write it; the exit code."""
    add_parallel_summary(summary, job.divided, counters, summary.metrics, options.parallelism.replan)
    if job.messages is not None:
        _tell_gaps(job, summary)
    code = OK
    if summary.rows_failed:
        _tell_failures(first_errors, summary)
        if not job.errors:
            code = ROWS_FAILED
    if summary.told_gaps and not job.errors:
        code = ROWS_FAILED
    if first_errors:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(first_errors)
    if not options.watching.quiet:
        say(summary.lines())
    if options.watching.summary:
        _write_whole(options.watching.summary, summary.to_json().encode() + b"\n")
    if (line := summary.last_line()) is not None:
        print(line, file=sys.stderr)
    return code


def _tell_gaps(job: Job, summary: Summary) -> None:
    """Tell what was gone of the topic: what was known before the job has been shown then."""
    assert job.messages is not None
    since = set(read_gaps(job.infer.job_dir) if job.infer.job_dir else []) - set(job.messages.gaps)
    for gap in sorted(since):
        print(f"warning: {gap.line}", file=sys.stderr)
    summary.tell_gaps(sorted(since.union(job.messages.gaps)))


def _write_whole(path: str, data: bytes) -> None:
    """Write a file, or leave none; a device stays."""
    try:
        with open_output(path) as file:
            file.write(data)
    except OSError:
        if os.path.isfile(path):
            remove(path)
        raise


def _written(job: Job) -> list[str]:
    if is_kafka(job.output):
        return [job.output]
    return files_of(job.output, is_single(job.output, job.num_shards))


def _give_up(written: list[tuple[str, str]], workers: WorkerProcesses | None) -> bool:
    """What a signal does: stop, unless the files get their names already."""
    if not all([give_up(path, job_id) for path, job_id in written]):
        return False
    if workers is not None:
        workers.end()
    return True


def _first_errors_path(job: Job, job_dir: str | None) -> str | None:
    """Where the workers tell what failed; None where they and this process share no folder."""
    if job_dir is None and is_kafka(job.output):
        return None
    folder = job_dir or os.path.dirname(job.output) or "."
    return f"{folder}/.first-errors-{os.getpid()}.json"


def _failure_watch(job: Job, job_dir: str | None, signals: Interruptible) -> Callable[[], None] | None:
    """What raises as soon as more rows have failed than may; None where that is known at the end only."""
    limit = job.max_failed
    if limit is None or job_dir is None or (limit.share is not None and not job.total_exact):
        return None

    def check() -> None:
        counts = read_counts(job_dir)
        failed = sum(failed for _, failed in counts)
        read = sum(done for done, _ in counts) + failed
        # As for a signal: no worker goes on to write, and files that get their names already are let have them.
        if limit.passed_so_far(failed, read, job.total_rows or read) and signals.give_up():
            kinds = read_tallies(job_dir).listed()
            raise limit.error(failed, job.total_rows if job.total_exact else None, kinds[0] if kinds else None)

    return check


def _reading_ahead(job: Job, local: bool) -> contextlib.AbstractContextManager[None]:
    """Start to read now if the readers are in this process and another core is free."""
    if job.read is None:
        return contextlib.nullcontext()
    splits = splits_at_once(job.files, job.format, job.workers)
    if not splits or not local or job.worker_type == "process" or cores() < 2:
        return contextlib.nullcontext()
    return head_start(splits, job.read, job.workers)


@contextlib.contextmanager
def watch_rows(
    job_dir: str | None,
    total: int | None = None,
    backlog: Callable[[str], int | None] | None = None,
    steps: int = 1,
) -> Iterator[None]:
    """Show progress while the block inside runs.

    Args:
        job_dir: where the workers leave their counts; None shows nothing.
        total: rows in the input, where that is known.
        backlog: what is still to be read, by the same folder.
        steps: of the model that have workers of their own, if there are several.
    """
    if job_dir is None:
        yield
        return

    def counts() -> tuple[int, int]:
        each = read_counts(job_dir)
        return sum(done for done, _ in each), sum(failed for _, failed in each)

    def behind() -> int | None:
        return backlog(job_dir) if backlog is not None else None

    with Progress(counts, total, backlog=behind, steps=lambda: read_steps(job_dir)[:steps]):
        yield


def read_metrics(result: Any) -> tuple[dict[str, int], dict[str, Any]]:
    """(our counters by name, Beam's inference metrics by name)."""
    queried = result.metrics().query()
    counters: dict[str, int] = {}
    inference: dict[str, Any] = {}
    for counter in queried["counters"]:
        name, value = counter.key.metric.name, counter.result or 0  # Beam gives None for a committed 0
        into = counters if counter.key.metric.namespace == "beamsplit" else None
        if counter.key.metric.namespace == NAMESPACE:
            into = inference
        if into is not None:
            # Beam gives None for a 0 that is committed and no longer attempted.
            into[name] = into.get(name, 0) + (value or 0)
    for distribution in queried["distributions"]:
        if distribution.key.metric.namespace == NAMESPACE:
            value = distribution.result
            inference[distribution.key.metric.name] = {
                "count": value.count,
                "sum": value.sum,
                "min": value.min,
                "max": value.max,
            }
    return counters, inference


def _tell_failures(path: str | None, summary: Summary) -> None:
    """Take in what failed and why; show the first where they are kept nowhere."""
    from beamsplit.transforms.failures.summary import read_first_errors

    if path is None:
        return
    try:
        found = read_first_errors(path)
    except FileNotFoundError:  # of workers elsewhere
        return
    summary.tell_failures(found.kinds)
    if not found.first:
        return
    count = f"{summary.rows_failed:,} row{'s' * (summary.rows_failed != 1)} failed"
    print(f"{count}; give --errors FILE.jsonl to keep them all. The first:", file=sys.stderr)
    for error in found.first:
        print(f"  {error.file} row {error.row}: {error.stage}: {error.reason}", file=sys.stderr)
