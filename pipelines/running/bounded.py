"""Runs a job that has an end, and tells how it went."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.running.run_limit import told
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.schemes import is_sql, is_topic
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, summarise
from beamsplit.pipelines.resume.kept import forget_kept, kept_in_table
from beamsplit.pipelines.running.interrupt import Interruptible, is_own_process, what_is_left
from beamsplit.pipelines.running.metrics import read_metrics, watch_rows
from beamsplit.pipelines.running.runner import SettledRunner, started_runner
from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.pipelines.running.telling import read_reasons, tell
from beamsplit.pipelines.running.wiring import build
from beamsplit.pipelines.sinks.files import FileSink
from beamsplit.pipelines.sinks.sink import Sink
from beamsplit.pipelines.sinks.table import TableSink
from beamsplit.pipelines.sources.files import Files, dealt_whole
from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.direct import is_direct, run_direct
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.read.head_start import head_start
from beamsplit.transforms.read.splits import splits_at_once
from beamsplit.transforms.resume.units import deal_units
from beamsplit.transforms.worker import read_counts
from beamsplit.transforms.write import remove_temp
from beamsplit.transforms.write.finalize import disown_folders, own_folders
from beamsplit.transforms.write.point_of_no_return import give_up

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

FAILED = 1


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
    options, beam_args, local = settled.options, settled.beam_args, settled.local
    if local:
        import_beam(whole=not is_own_process())
    import apache_beam as beam

    from beamsplit.runners.beam_patches.quick_options import QuickOptions

    first_errors = _first_errors_path(job)
    written: list[tuple[str, str]] = []
    try:
        with started_runner(job.runner, beam_args, job, job_dir, options.watching.debug) as (runner, flags, workers):
            try:
                pipeline = beam.Pipeline(runner, QuickOptions([*flags, *beam_args]))
            except ValueError as error:
                raise UsageError(f"--runner {job.runner.name}: {' '.join(str(error).split())}") from error
            if workers is not None and job_dir is not None:
                workers.last_words = partial(told, job_dir)
            if job.resumed is not None:
                job.resumed.start(job)
            written += build(pipeline, job, first_errors)
            if local and not job.resumed:
                own_folders(written)
            signals.give_up = lambda: _give_up(written, workers)
            signals.left, signals.planning = what_is_left(options), False
            gc.freeze()
            gc.enable()
            first = TellFirstFailures(job_dir if job.source.of_messages else None, job.sinks.errors.name)
            steps = 1 if job.execution.distributed is None else len(job.execution.distributed.steps)
            shown = None if options.watching.quiet else job_dir
            total = None if options.source.where else job.source.total_rows
            before = (0, 0) if job.resumed is None else (job.resumed.rows, job.resumed.failed_rows)
            with watch_rows(shown, total, steps=steps, before=before), first:
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
            if job.resumed is None:
                remove_temp(path, job_id)
        raise
    finally:
        if local and not job.resumed:
            disown_folders(written)
    counts = read_counts(job_dir) if job_dir else []
    failed = None
    if job.resumed is not None:
        from beamsplit.transforms.resume.finish import finished

        done = finished(job.resumed.folder)
        counters, failed = {**counters, **done.counters}, done.failed
    summary = summarise(
        counters,
        seconds=time.perf_counter() - started,
        worker_rows=[done for done, _ in counts],
        files=job.sinks.predictions.files(),
        errors=job.sinks.errors.name,
        plan=job.facts,
        metrics=inference,
        resumed=job.resumed.told if job.resumed is not None else {},
    )
    if job.resumed is None and local:
        _forget_kept(options, job.sinks.predictions)
    try:
        if failed is None:
            failed = read_reasons(first_errors)
        return tell(options, job, summary, counters, failed), summary
    except OSError as error:  # of a file, or of the standard output: the disk is full, say
        print(f"error: the job is done and its output is written, but not its report: {error}", file=sys.stderr)
        return FAILED, summary


def _forget_kept(options: ScoreOptions, sink: Sink) -> None:
    """Remove what jobs with `--resume` have left of an output that is there now."""
    output = kept_in_table(sink.folder, sink.extension) if isinstance(sink, TableSink) else sink.name
    if isinstance(sink, (FileSink, TableSink)) and forget_kept(output) and not options.watching.quiet:
        print("note: what a job with --resume had finished of this output is removed", file=sys.stderr)


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
    if job.job_dir is None and (is_topic(output) or is_sql(output)):
        return None
    folder = job.job_dir or os.path.dirname(output) or "."
    return f"{folder}/.first-errors-{os.getpid()}.json"


def _failure_watch(job: Job, job_dir: str | None, signals: Interruptible) -> Callable[[], None] | None:
    """What raises as soon as more rows have failed than may; None where that is known at the end only."""
    limit = job.max_failed
    if limit is None or job_dir is None or (limit.share is not None and not job.source.total_exact):
        return None
    failed_before = 0 if job.resumed is None else job.resumed.failed_rows
    done_before = 0 if job.resumed is None else job.resumed.rows - failed_before

    def check() -> None:
        counts = read_counts(job_dir)
        failed = sum(failed for _, failed in counts) + failed_before
        read = sum(done for done, _ in counts) + failed + done_before
        # As for a signal: no worker goes on to write, and files that get their names already are let have them.
        if limit.passed_so_far(failed, read, job.source.total_rows or read) and signals.give_up():
            kinds = read_tallies(job_dir).listed()
            raise limit.error(
                failed, job.source.total_rows if job.source.total_exact else None, kinds[0] if kinds else None
            )

    return check


@contextlib.contextmanager
def reading_ahead(job: Job, local: bool) -> Iterator[Job]:
    """Start to read now if the readers are in this process and another core is free; gives the job with its splits."""
    source = job.source
    if not isinstance(source, Files) or source.reading is None or not local or job.worker_type == "process":
        yield job
        return
    if job.resumed is None:
        splits = source.splits
        if splits is None:
            splits = splits_at_once(source.inputs, source.format, job.workers, dealt_whole(job.asked.partition))
        # Of text they are found by reading it, which is not to be done twice.
        job = replace(job, source=replace(source, splits=splits))
    else:
        splits = [range_[0].splits[0] for range_ in deal_units(job.resumed.pending, job.workers) if range_]
    with head_start(splits, source.reading, job.workers) if splits and cores() > 1 else contextlib.nullcontext():
        yield job
