"""Tells how a job with an end went: its summary, what failed, its exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from beamsplit.pipelines.execution.execution import add_parallel_summary
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary
from beamsplit.pipelines.running.log_lines import tell_summary
from beamsplit.transforms.kafka.gaps import read_gaps
from beamsplit.transforms.write.storage import open_output, remove

if TYPE_CHECKING:
    from beamsplit.transforms.failures.reasons import FirstErrorsRead

OK, ROWS_FAILED = 0, 3


def tell(
    options: ScoreOptions, job: Job, summary: Summary, counters: dict[str, int], failed: FirstErrorsRead | None
) -> int:
    """Complete the summary of a job that is done, show and write it; the exit code."""
    add_parallel_summary(summary, job.execution, counters, summary.metrics, options.parallelism.replan)
    if job.source.of_messages:
        _tell_gaps(job, summary)
    code = tell_failed(summary, failed, job.sinks.errors.name)
    if summary.told_gaps and (job.sinks.errors.name is None or options.source.replay is not None):
        # Rows that were asked for by name are missing, wherever that is told.
        code = ROWS_FAILED
    report(options, summary)
    return code


def tell_failed(summary: Summary, failed: FirstErrorsRead | None, errors: str | None) -> int:
    """Tell what failed; the exit code."""
    if not summary.rows_failed:
        return OK
    if failed is not None:
        _tell_failures(failed, summary)
    return ROWS_FAILED if errors is None else OK


def report(options: ScoreOptions, summary: Summary) -> None:
    """Show and write the summary.

    Raises:
        OSError: it cannot be written.
    """
    if not options.watching.quiet:
        tell_summary(summary)
    if options.watching.summary:
        _write_whole(options.watching.summary, summary.to_json().encode() + b"\n")
    if (line := summary.last_line()) is not None:
        print(line, file=sys.stderr)


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


def read_reasons(path: str | None) -> FirstErrorsRead | None:
    """What workers told of what failed; None where they are elsewhere."""
    from beamsplit.transforms.failures.reasons import read_first_errors

    if path is None:
        return None
    try:
        found = read_first_errors(path)
    except FileNotFoundError:
        return None
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return found


def _tell_failures(found: FirstErrorsRead, summary: Summary) -> None:
    """Take in what failed and why; show the first where they are kept nowhere."""
    summary.tell_failures(found.kinds)
    if not found.first or summary.errors is not None:
        return
    count = f"{summary.rows_failed:,} row{'s' * (summary.rows_failed != 1)} failed"
    print(f"{count}; give --errors FILE.jsonl to keep them all. The first:", file=sys.stderr)
    for error in found.first:
        print(f"  {error.file} row {error.row}: {error.stage}: {error.reason}", file=sys.stderr)
