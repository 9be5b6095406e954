"""Runs a planned job on a runner, watches it, and tells how it went."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.errors import UsageError
from pipelines.job import Job, plan_job
from pipelines.report import Progress, Summary, say, summarise
from runners.direct import direct_flags, direct_runner, is_direct
from transforms.errors import read_first_errors
from transforms.infer import NAMESPACE
from transforms.worker import read_counts
from transforms.write import remove_temp
from transforms.write.finalize import files_of
from transforms.write.storage import open_output

OK, ROWS_FAILED = 0, 3


def launch(
    options: argparse.Namespace, rest: list[str], build: Callable[..., list[tuple[str, str]]], started: float
) -> tuple[int, Summary | None]:
    """Plan and run a job; (exit code, summary).

    Args:
        options: from `pipelines.options.parse`.
        rest: options for Beam.
        build: wires a job into a pipeline.
        started: `time.perf_counter()` when the command began: start-up counts.

    Raises:
        UsageError: the job cannot work; nothing was started.
        Exception: the job failed; nothing is left of what it wrote.
    """
    check_beam_options(rest)
    local = is_direct(options.runner)
    with _job_folder(local) as job_dir:
        job = plan_job(options, job_dir, local)
        for note in job.notes:
            if not options.quiet and not options.dry_run_plan:
                print(f"note: {note}", file=sys.stderr)
        if options.dry_run_plan:
            say(job.lines())
            return OK, None
        return _run(options, rest, build, job, job_dir, local, started)


def _run(
    options: argparse.Namespace,
    rest: list[str],
    build: Callable[..., list[tuple[str, str]]],
    job: Job,
    job_dir: str | None,
    local: bool,
    started: float,
) -> tuple[int, Summary | None]:
    runner = direct_runner(job.workers, job.worker_type, options.debug) if local else None
    flags = direct_flags(job.workers) if local else [f"--runner={options.runner}"]
    try:
        pipeline = beam.Pipeline(runner, PipelineOptions([*flags, *rest]))
    except ValueError as error:
        raise UsageError(f"--runner {options.runner}: {' '.join(str(error).split())}") from error
    first_errors = None if job.errors else _first_errors_path(job, job_dir)
    written = build(pipeline, job, first_errors)
    try:
        with _watched(job, job_dir, options.quiet):
            result = pipeline.run()
            result.wait_until_finish()
    except BaseException:
        for path, job_id in written:
            remove_temp(path, job_id)
        raise
    counters, inference = _metrics(result)
    counts = read_counts(job_dir) if job_dir else []
    summary = summarise(
        counters,
        seconds=time.perf_counter() - started,
        worker_rows=[done for done, _ in counts],
        files=files_of(job.output),
        errors=job.errors,
        plan=job.facts,
        metrics=inference,
    )
    code = OK
    if first_errors and summary.rows_failed:
        code = ROWS_FAILED
        _show_first_errors(first_errors, summary)
    if first_errors:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(first_errors)
    if not options.quiet:
        say(summary.lines())
    if options.summary:
        with open_output(options.summary) as file:
            file.write(summary.to_json().encode() + b"\n")
    return code, summary


def check_beam_options(rest: list[str]) -> None:
    """Raise for an option that neither we nor Beam know: a typing mistake must not pass silently."""
    if not rest:
        return
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in [PipelineOptions, *PipelineOptions.__subclasses__()]:
        add = getattr(options, "_add_argparse_args", None)
        if add is not None:
            with contextlib.suppress(argparse.ArgumentError):
                add(known)
    _, unknown = known.parse_known_args(rest)
    if unknown:
        from pipelines.options import parser

        names = [name for p in (parser(), known) for name in p._option_string_actions]
        close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see --help, and Beam's options for the runner"
        raise UsageError(f"{unknown[0]!r} is no option of score or of Beam{hint}")


def _first_errors_path(job: Job, job_dir: str | None) -> str:
    folder = job_dir or os.path.dirname(job.output) or "."
    return f"{folder}/.first-errors-{os.getpid()}.json"


@contextlib.contextmanager
def _job_folder(local: bool) -> Iterator[str | None]:
    """A folder that the local workers of one job share; gone when it is over."""
    if not local:
        yield None
        return
    folder = tempfile.mkdtemp(prefix="beamsplit-job-")
    # Beam leaves folders of staged files behind: made in this one, they go with it.
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _watched(job: Job, job_dir: str | None, quiet: bool) -> Iterator[None]:
    if quiet or job_dir is None:
        yield
        return

    def counts() -> tuple[int, int]:
        each = read_counts(job_dir)
        return sum(done for done, _ in each), sum(failed for _, failed in each)

    with Progress(counts, job.total_rows):
        yield


def _metrics(result: Any) -> tuple[dict[str, int], dict[str, Any]]:
    """(our counters by name, Beam's inference metrics by name)."""
    queried = result.metrics().query()
    counters: dict[str, int] = {}
    inference: dict[str, Any] = {}
    for counter in queried["counters"]:
        name, value = counter.key.metric.name, counter.result
        into = counters if counter.key.metric.namespace == "beamsplit" else None
        if counter.key.metric.namespace == NAMESPACE:
            into = inference
        if into is not None:
            into[name] = into.get(name, 0) + value
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


def _show_first_errors(path: str, summary: Summary) -> None:
    first = read_first_errors(path)
    count = f"{summary.rows_failed:,} row{'s' * (summary.rows_failed != 1)} failed"
    print(f"{count}; give --errors FILE.jsonl to keep them all. The first:", file=sys.stderr)
    for error in first.first:
        print(f"  {error.file} row {error.row}: {error.stage}: {error.reason}", file=sys.stderr)
    summary.failed_by_stage = dict(first.stages)


def summary_of(path: str) -> dict[str, Any]:
    """Read back what --summary wrote."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)
