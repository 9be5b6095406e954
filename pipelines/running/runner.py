"""Which runner a job gets, and what must run beside it. Imports no more than the runner needs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.job import Job
from beamsplit.runners.dataflow import check_dataflow, is_dataflow, write_job
from beamsplit.runners.direct import direct_flags, direct_runner, is_direct, needs_processes
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.prism import find_prism, is_prism, prism, prism_runner

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

Build = Callable[..., list[tuple[str, str]]]
"""Wires a job into a pipeline."""


def settle_runner(options: argparse.Namespace, rest: list[str]) -> bool:
    """Settle the options that depend on the runner; whether the workers run on this machine.

    Args:
        options: ours.
        rest: Beam's; those that say the same as one of ours are taken out.

    Raises:
        UsageError: an option does not go with the runner, or there is no such cluster.
    """
    if is_direct(options.runner):
        _read_direct(options, rest)
    if is_dataflow(options.runner):
        _check_dataflow(options, rest)
    if not _is_flink(options):
        return is_direct(options.runner) or is_prism(options.runner)
    from beamsplit.runners.flink import default_parallelism, pool_of_this_machine

    if options.worker_type == "thread":
        raise UsageError("--worker_type thread is for the in-process runner, and Flink has processes; leave it out")
    options.worker_type = "process"
    if options.parallelism is None:
        options.parallelism = _described(options.workers)
    if options.parallelism is None:
        with _as_usage_errors():
            options.parallelism = default_parallelism(options.flink_master, cores())
    options.workers = options.workers or options.parallelism
    return pool_of_this_machine(rest)


def _read_direct(options: argparse.Namespace, rest: list[str]) -> None:
    """Beam's own words for `--worker_type` and `--workers`."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    modes = {"multi_processing": "process", "multi_threading": "thread", "in_memory": "thread"}
    words.add_argument("--direct_running_mode", choices=modes)
    words.add_argument("--direct_num_workers", type=int)
    try:
        found, rest[:] = words.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    mode = modes.get(found.direct_running_mode)
    if mode is not None and options.worker_type not in (None, mode):
        raise UsageError(
            f"--direct_running_mode {found.direct_running_mode} means --worker_type {mode}, "
            f"and --worker_type is {options.worker_type}; leave one out"
        )
    options.worker_type = mode or options.worker_type
    if found.direct_num_workers:  # 0 is Beam's word for as many as there are cores
        options.workers = options.workers or found.direct_num_workers


def _described(workers: int | str | None) -> int | None:
    """How many workers there are; a path is that of a cluster.json."""
    if not isinstance(workers, str):
        return workers
    from beamsplit.models.cost.cluster import read_cluster

    return len(read_cluster(workers))


def more_options(options: argparse.Namespace) -> Sequence[str]:
    """Options of the runner that Beam's Python does not know."""
    if not _is_flink(options):
        return ()
    from beamsplit.runners.flink import JOB_SERVER_OPTIONS

    return JOB_SERVER_OPTIONS


@contextlib.contextmanager
def started_runner(
    options: argparse.Namespace, rest: Sequence[str], job: Job | None, job_dir: str | None = None
) -> Iterator[tuple[Any, list[str], WorkerProcesses | None]]:
    """(runner, flags for Beam, worker processes that it starts) of the job (None for a stream).

    What was started for it ends with the block inside. The processes are None where they are not of the in-process
    runner, or threads.

    Raises:
        UsageError: what the runner needs is not there.
        WorkerEnded: a worker process ended, and with it the job.
    """
    if is_prism(options.runner):
        from apache_beam.version import __version__

        with _as_usage_errors(), prism(find_prism(options.prism_location, __version__)) as flags:
            yield prism_runner(), flags, None
    elif is_direct(options.runner):
        assert job is not None, "streams run on Prism here"
        apart = job.divided.apart
        flags = direct_flags(job.workers)
        if job_dir is None or not needs_processes(job.workers, job.worker_type, apart):
            yield direct_runner(job.workers, job.worker_type, apart=apart), flags, None
            return
        from beamsplit.runners.room import check_room
        from beamsplit.runners.worker_processes import worker_processes

        parts = len(job.divided.stage_steps) or len(job.divided.shard_steps.steps if job.divided.shard_steps else ())
        with _as_usage_errors():
            check_room(job.workers * (1 + parts))
        with worker_processes(job_dir, options.debug) as processes:
            yield direct_runner(job.workers, job.worker_type, processes.command(), apart), flags, processes
    elif _is_flink(options):
        from beamsplit.runners.flink import FlinkFailed, FlinkOptions, flink_runner, pool_of_this_machine

        flink = FlinkOptions(
            master=options.flink_master,
            parallelism=options.parallelism,
            streaming="--streaming" in rest,
            checkpoint_ms=options.checkpoint,
            job_server_jar=options.flink_job_server_jar,
            own_workers=not pool_of_this_machine(rest),
        )
        try:
            with _as_usage_errors(), flink_runner(flink) as (runner, flags):
                yield runner, flags, None
        except FlinkFailed as error:
            log = str(error).splitlines()[1:]
            if log:  # that of the workers; the first line is told as any error is
                print(*log, sep="\n", file=sys.stderr)
            raise
    else:
        yield None, [f"--runner={options.runner}"], None


def dry_run(options: argparse.Namespace, rest: Sequence[str], build: Build, job: Job) -> list[str]:
    """Write the Dataflow job that would be submitted into the folder `--dry_run`; the files written."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    beam_options = PipelineOptions(["--runner=DataflowRunner", *rest])
    pipeline = beam.Pipeline(direct_runner(1, "thread"), beam_options)
    build(pipeline, job, f"{options.output}.first-errors.json" if not job.errors else None)
    return [str(path) for path in write_job(pipeline, beam_options, Path(options.dry_run))]


def _check_dataflow(options: argparse.Namespace, rest: Sequence[str]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    files = [options.model, *options.input, options.output, *filter(None, [options.errors])]
    with _as_usage_errors():
        check_dataflow(PipelineOptions(["--runner=DataflowRunner", *rest]), () if options.dry_run else files)


def _is_flink(options: argparse.Namespace) -> bool:
    return "flink" in options.runner.lower()


@contextlib.contextmanager
def _as_usage_errors() -> Iterator[None]:
    try:
        yield
    except RunnerError as error:
        raise UsageError(str(error)) from error
