"""Which runner a job gets, and what must run beside it. Imports no more than the runner needs."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.beam import read_direct
from beamsplit.pipelines.options.values import RunnerOptions, ScoreOptions
from beamsplit.pipelines.running.job_folder import CLUSTER_JOB
from beamsplit.pipelines.running.job_name import job_name
from beamsplit.runners.dataflow import check_dataflow, is_dataflow, write_job
from beamsplit.runners.direct import direct_flags, direct_runner, is_direct, needs_processes
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.prism import find_prism, is_prism, prism, prism_runner

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

Build = Callable[..., list[tuple[str, str]]]
"""Wires a job into a pipeline."""


@dataclass(frozen=True)
class SettledRunner:
    """Options that the runner has settled."""

    options: ScoreOptions
    beam_args: list[str]
    """Beam's, without those that say the same as one of ours."""

    local: bool
    """Whether the workers run on this machine."""


def settle_runner(options: ScoreOptions, beam_args: Sequence[str]) -> SettledRunner:
    """Settle what depends on the runner.

    Raises:
        UsageError: an option does not go with the runner, or there is no such cluster.
    """
    runner, workers, for_beam = options.runner, options.workers, list(beam_args)
    if is_direct(runner.name):
        workers, for_beam = read_direct(workers, for_beam)
    if is_dataflow(runner.name):
        _check_dataflow(options, for_beam)
    name = job_name(options)
    if not _is_flink(runner.name):
        local = is_direct(runner.name) or is_prism(runner.name)
        if not local and runner.job_name is not None:
            for_beam.append(f"--job_name={name}")
        named = replace(runner, job_name=name)
        return SettledRunner(replace(options, workers=workers, runner=named), for_beam, local)
    from beamsplit.runners.flink import default_parallelism, pool_of_this_machine

    if workers.worker_type == "thread":
        raise UsageError("--worker_type thread is for the in-process runner, and Flink has processes; leave it out")
    cluster, tasks = options.parallelism.cluster, runner.parallelism
    if tasks is None:
        tasks = workers.count if cluster is None else _described(cluster)
    if tasks is None:
        with _as_usage_errors():
            tasks = default_parallelism(runner.flink_master, cores())
    # A strategy chooses how many of a cluster there are.
    count = workers.count or (tasks if cluster is None else None)
    options = replace(
        options,
        workers=replace(workers, worker_type="process", count=count),
        runner=replace(runner, parallelism=tasks, job_name=name),
    )
    return SettledRunner(options, for_beam, pool_of_this_machine(for_beam))


def _described(cluster: str) -> int:
    """How many workers a cluster.json describes."""
    from beamsplit.models.cost.cluster import read_cluster

    return len(read_cluster(cluster))


def more_options(runner: str) -> Sequence[str]:
    """Options of the runner that Beam's Python does not know."""
    if not _is_flink(runner):
        return ()
    from beamsplit.runners.flink import JOB_SERVER_OPTIONS

    return JOB_SERVER_OPTIONS


@contextlib.contextmanager
def started_runner(
    asked: RunnerOptions,
    beam_args: Sequence[str],
    job: Job | None,
    job_dir: str | None = None,
    debug: bool = False,
) -> Iterator[tuple[Any, list[str], WorkerProcesses | None]]:
    """(runner, flags for Beam, worker processes that it starts) of the job (None for a stream).

    What was started for it ends with the block inside. The processes are None where they are not of the in-process
    runner, or threads.

    Raises:
        UsageError: what the runner needs is not there.
        WorkerEnded: a worker process ended, and with it the job.
    """
    if is_prism(asked.name):
        from apache_beam.version import __version__

        with _as_usage_errors(), prism(find_prism(asked.prism_location, __version__)) as flags:
            yield prism_runner(), [*flags, f"--job_name={asked.job_name}"], None
    elif is_direct(asked.name):
        assert job is not None, "streams run on Prism here"
        distributed = job.execution.is_distributed
        flags = direct_flags(job.workers)
        if job_dir is None or not needs_processes(job.workers, job.worker_type, distributed):
            yield direct_runner(job.workers, job.worker_type, distributed=distributed), flags, None
            return
        from beamsplit.runners.room import check_room
        from beamsplit.runners.worker_processes import worker_processes

        parts = len(job.execution.distributed.steps) if job.execution.distributed is not None else 0
        with _as_usage_errors():
            check_room(job.workers * (1 + parts))
        with worker_processes(job_dir, debug) as processes:
            yield direct_runner(job.workers, job.worker_type, processes.command(), distributed), flags, processes
    elif _is_flink(asked.name):
        from beamsplit.runners.flink import FlinkFailed, FlinkOptions, flink_runner, pool_of_this_machine

        assert asked.parallelism is not None, "it is settled"
        flink = FlinkOptions(
            master=asked.flink_master,
            parallelism=asked.parallelism,
            streaming="--streaming" in beam_args,
            checkpoint_ms=asked.checkpoint,
            job_server_jar=asked.flink_job_server_jar,
            job_name=asked.job_name or "",
            told_in=os.path.join(tempfile.gettempdir(), CLUSTER_JOB),  # which is the command's folder by now
            own_workers=not pool_of_this_machine(beam_args),
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
        yield None, [f"--runner={asked.name}"], None


def dry_run(folder: str, beam_args: Sequence[str], build: Build, job: Job) -> list[str]:
    """Write the Dataflow job that would be submitted into a folder; the files written."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    beam_options = PipelineOptions(["--runner=DataflowRunner", *beam_args])
    pipeline = beam.Pipeline(direct_runner(1, "thread"), beam_options)
    build(pipeline, job, f"{job.sinks.predictions.name}.first-errors.json" if job.sinks.errors.name is None else None)
    return [str(path) for path in write_job(pipeline, beam_options, Path(folder))]


def _check_dataflow(options: ScoreOptions, beam_args: Sequence[str]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    files = [options.binding.model, *options.source.input, options.sink.output, *filter(None, [options.sink.errors])]
    with _as_usage_errors():
        check_dataflow(
            PipelineOptions(["--runner=DataflowRunner", *beam_args]), () if options.watching.dry_run else files
        )


def _is_flink(runner: str) -> bool:
    return "flink" in runner.lower()


@contextlib.contextmanager
def _as_usage_errors() -> Iterator[None]:
    try:
        yield
    except RunnerError as error:
        raise UsageError(str(error)) from error
