"""Runs a job that has an end, and tells how it went."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.running.run_limit import told
from beamsplit.pipelines.execution.execution import add_parallel_summary
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, say, summarise
from beamsplit.pipelines.running.interrupt import Interruptible, is_own_process, what_is_left
from beamsplit.pipelines.running.metrics import read_metrics, watch_rows
from beamsplit.pipelines.running.runner import SettledRunner, started_runner
from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.pipelines.running.wiring import build
from beamsplit.pipelines.sources.files import Files
from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.direct import is_direct, run_direct
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.kafka.gaps import read_gaps
from beamsplit.transforms.read.head_start import head_start
from beamsplit.transforms.read.splits import splits_at_once
from beamsplit.transforms.worker import read_counts
from beamsplit.transforms.write import remove_temp
from beamsplit.transforms.write.finalize import disown_folders, own_folders
from beamsplit.transforms.write.point_of_no_return import give_up
from beamsplit.transforms.write.storage import open_output, remove

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

OK, FAILED, ROWS_FAILED = 0, 1, 3


def run_bounded(
    settled: SettledRunner,
    job: Job,
    job_dir: str | None,
    started: float,
    signals: Interruptible,
) -> tuple[int, Summary | None]:
    """Run a job to its end; (exit code, summary).

    Args:
        settled: the options as the runner has them.
        job: as it is planned.
        job_dir: folder that local workers share.
        started: `time.perf_counter()` when the command began.
        signals: what a signal does.

    Raises:
        Exception: the job failed; nothing is left of what it wrote.
    """
    options, rest, local = settled.options, settled.beam_args, settled.local
    if local:
        import_beam(whole=not is_own_process())
    import apache_beam as beam

    from beamsplit.runners.beam_patches.quick_options import QuickOptions

    first_errors = _first_errors_path(job)
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
            first = TellFirstFailures(job_dir if job.source.of_messages else None, job.sinks.errors.name)
            steps = 1 if job.execution.distributed is None else len(job.execution.distributed.steps)
            shown = None if options.watching.quiet else job_dir
            with watch_rows(shown, None if options.source.where else job.source.total_rows, steps=steps), first:
                if is_direct(job.runner.name):
                    result = run_direct(pipeline, workers, _failure_watch(job, job_dir, signals))
                else:
                    result = pipeline.run()
                    result.wait_until_finish()
            counters, inference = read_metrics(result)
            counters["rows_left_out"] = counters.get("rows_left_out", 0) + job.source.rows_left_out
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
        files=job.sinks.predictions.files(),
        errors=job.sinks.errors.name,
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
    add_parallel_summary(summary, job.execution, counters, summary.metrics, options.parallelism.replan)
    if job.source.of_messages:
        _tell_gaps(job, summary)
    code = OK
    if summary.rows_failed:
        _tell_failures(first_errors, summary)
        if job.sinks.errors.name is None:
            code = ROWS_FAILED
    if summary.told_gaps and job.sinks.errors.name is None:
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
    since = set(read_gaps(job.job_dir) if job.job_dir else []) - set(job.source.gaps)
    for gap in sorted(since):
        print(f"warning: {gap.line}", file=sys.stderr)
    summary.tell_gaps(sorted(since.union(job.source.gaps)))


def _write_whole(path: str, data: bytes) -> None:
    """Write a file, or leave none; a device stays. At a store a file that is not whole is none."""
    try:
        with open_output(path) as file:
            file.write(data)
    except OSError:
        if os.path.isfile(path):
            remove(path)
        raise


def _give_up(written: list[tuple[str, str]], workers: WorkerProcesses | None) -> bool:
    """What a signal does: stop, unless the files get their names already."""
    if not all([give_up(path, job_id) for path, job_id in written]):
        return False
    if workers is not None:
        workers.end()
    return True


def _first_errors_path(job: Job) -> str | None:
    """Where the workers tell what failed; None where they and this process share no folder."""
    output = job.sinks.predictions.name
    if job.job_dir is None and is_topic(output):
        return None
    folder = job.job_dir or os.path.dirname(output) or "."
    return f"{folder}/.first-errors-{os.getpid()}.json"


def _failure_watch(job: Job, job_dir: str | None, signals: Interruptible) -> Callable[[], None] | None:
    """What raises as soon as more rows have failed than may; None where that is known at the end only."""
    limit = job.max_failed
    if limit is None or job_dir is None or (limit.share is not None and not job.source.total_exact):
        return None

    def check() -> None:
        counts = read_counts(job_dir)
        failed = sum(failed for _, failed in counts)
        read = sum(done for done, _ in counts) + failed
        # As for a signal: no worker goes on to write, and files that get their names already are let have them.
        if limit.passed_so_far(failed, read, job.source.total_rows or read) and signals.give_up():
            kinds = read_tallies(job_dir).listed()
            raise limit.error(
                failed, job.source.total_rows if job.source.total_exact else None, kinds[0] if kinds else None
            )

    return check


def reading_ahead(job: Job, local: bool) -> contextlib.AbstractContextManager[None]:
    """Start to read now if the readers are in this process and another core is free."""
    source = job.source
    if not isinstance(source, Files) or source.reading is None:
        return contextlib.nullcontext()
    splits = splits_at_once(source.inputs, source.format, job.workers)
    if not splits or not local or job.worker_type == "process" or cores() < 2:
        return contextlib.nullcontext()
    return head_start(splits, source.reading, job.workers)


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
