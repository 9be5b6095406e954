"""Flink: embedded in a job server of this machine, or a session cluster.

--runner FlinkRunner                             --flink_master host:8081

submitter --- job server [ Flink inside ]        submitter --- job server --- JobManager
    |              |                                 |                           |
worker pool ---- workers                         worker pool ---- workers ---- TaskManagers (of this machine)
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamsplit.runners.beam_patches.quiet_worker import keep_tracebacks_quiet
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink_job_server import (
    EMBEDDED,
    FLINK_VERSION,
    LIBRARIES,
    FlinkJobServer,
    for_cluster,
    job_server_command,
)
from beamsplit.runners.flink_rest import CANCEL_SECONDS, ClusterJob, FlinkFailed, overview, setting, wait_for_slots

if TYPE_CHECKING:
    from beamsplit.runners.worker_pool import WorkerPool

NAMES = ("FlinkRunner", "flink")
LOOPBACK = ("localhost", "127.0.0.1", "::1")

KEEP_WORKERS_MS = 10_000
"""How long Flink keeps a worker for the next steps of a batch job, milliseconds: starting one takes seconds.

A stream has all of its steps at once, and would be given a worker that was killed until the time is over.
"""

BUNDLE_MS = 10
"""How long Flink keeps a bundle of a stream open, milliseconds (`--max_bundle_time_mills` changes it).

What a worker is to read next lies in Flink's buffer until then: with Beam's second, readers are idle so long each time.
"""

STATE_CACHE_MB = 100
"""What a worker of a stream remembers of its state at most, so that it need not ask the runner again (Beam: 0).

Flink gives what is remembered a name of its own each time a step starts: none of it outlives a restart.
`--max_cache_memory_usage_mb` changes it.
"""

PAUSE_MS = 200
"""From a checkpoint's end to the next one's barrier at least, milliseconds: all tasks have heard of the end by then."""

JOB_SERVER_OPTIONS = (
    "checkpoint_timeout_millis",
    "min_pause_between_checkpoints",
    "num_concurrent_checkpoints",
    "fail_on_checkpointing_errors",
    "finish_bundle_before_checkpointing",
    "unaligned_checkpoint_enabled",
    "number_of_execution_retries",
    "execution_retry_delay",
    "object_reuse",
    "state_backend",
    "state_backend_storage_path",
    "retain_externalized_checkpoints_on_cancellation",
    "max_bundle_size",
    "max_bundle_time_mills",
    "auto_watermark_interval",
    "savepoint_path",
    "allow_non_restored_state",
)
"""Options of Beam's Flink runner that Beam's Python does not know and the job server does."""


def is_flink(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return runner in NAMES


@dataclass(frozen=True)
class FlinkOptions:
    """Where and how a job runs on Flink."""

    master: str | None = None
    """`host:port` of a session cluster's REST service; None embeds Flink."""

    parallelism: int = 1
    """Tasks of each step side by side, each with a worker process."""

    streaming: bool = False

    checkpoint_ms: int | None = 10_000
    """Between checkpoints of a streaming job, milliseconds; None takes none, so that nothing is finalized."""

    job_server_jar: str | None = None
    version: str = FLINK_VERSION

    job_name: str = ""
    """On Flink's page; empty for one that no other job has."""

    told_in: str | None = None
    """File that gets the job's id on a session cluster, and the cluster's address, if its workers are started here."""

    own_workers: bool = False
    """The user has given an environment (`--environment_type ...`), so no worker pool is started here."""


def pool_of_this_machine(rest: Sequence[str]) -> bool:
    """Whether a job has its workers from a pool that we start: not if Beam's options name an environment."""
    return not any(option.split("=")[0] in ("--environment_type", "--environment_config") for option in rest)


def default_parallelism(master: str | None, cores: int) -> int:
    """The slots of the cluster, or the cores of this machine where Flink is embedded.

    Raises:
        RunnerError: there is no cluster, or it has no slot.
    """
    if master is None:
        return cores
    slots = int(overview(master)["slots-total"])
    if not slots:
        raise RunnerError(f"the Flink cluster at {master} has no slots; start a TaskManager")
    return slots


@contextlib.contextmanager
def flink_runner(options: FlinkOptions) -> Iterator[tuple[Any, list[str]]]:
    """(the runner, flags for Beam) of one job; what was started for it ends with the block of code inside.

        with flink_runner(FlinkOptions(parallelism=2)) as (runner, flags):
            result = beam.Pipeline(runner, options=PipelineOptions(flags)).run()
            result.wait_until_finish()

    A job that still runs when the block is left (Ctrl-C, an exception) is cancelled.

    Raises:
        RunnerError: before anything runs: no Java, no job server, no such cluster, or no way for it to reach workers.
        FlinkFailed: workers cannot start, or the job server has ended.
    """
    import grpc

    keep_tracebacks_quiet()
    workers = options.parallelism
    if options.master is not None:
        known = overview(options.master)
        # Of each TaskManager: with more, steps beyond the first would start workers beyond the slots.
        workers = min(workers, max(1, -(-int(known["slots-total"]) // max(1, int(known["taskmanagers"])))))
        host = options.master.split("://")[-1].rsplit(":", 1)[0]
        if not options.own_workers and host not in LOOPBACK:
            raise RunnerError(
                f"the TaskManagers of {options.master} cannot reach workers of this machine; run a worker pool beside "
                "each (python -m beamsplit.runners.worker_pool) and add --environment_type EXTERNAL "
                "--environment_config localhost:50000, see docs/clusters.md"
            )
    from beamsplit.runners.worker_pool import WorkerPool

    command = job_server_command(
        options.job_server_jar, options.version, quick=not options.streaming or options.master is not None
    )
    if options.master is not None:
        command = for_cluster(command, setting(options.master, LIBRARIES))
        wait_for_slots(options.master, options.parallelism)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="beamsplit-flink-", ignore_cleanup_errors=True))
        )
        pool = None if options.own_workers else stack.enter_context(WorkerPool(folder))
        server = FlinkJobServer(command, options.master or EMBEDDED, folder, options.parallelism, options.streaming)
        runner = _runner(pool, options, workers, lambda: server.process.logged())
        # When the job server has ended, which may have been handing the job over until then.
        stack.callback(runner.see_it_over)
        stack.enter_context(server)
        try:
            yield runner, _flags(options, server.endpoint, pool, workers)
        except Exception as error:
            if pool is not None and pool.failure:
                raise FlinkFailed(f"the job's workers cannot start: {pool.failure}") from error
            if isinstance(error, grpc.RpcError) and (ended := server.why_it_ended()) is not None:
                raise FlinkFailed(ended) from error
            raise
        finally:
            runner.end()


def _flags(options: FlinkOptions, endpoint: str, pool: WorkerPool | None, workers: int) -> list[str]:
    flags = [
        f"--job_name={options.job_name or f'beamsplit-{os.urandom(6).hex()}'}",
        f"--job_endpoint={endpoint}",
        f"--parallelism={options.parallelism}",
        f"--sdk_worker_parallelism={workers}",
        f"--environment_cache_millis={0 if options.streaming else KEEP_WORKERS_MS}",
    ]
    if pool is not None:
        flags += ["--environment_type=EXTERNAL", f"--environment_config={pool.address}"]
    if options.streaming:
        flags += ["--streaming", f"--max_bundle_time_mills={BUNDLE_MS}"]
        flags.append(f"--max_cache_memory_usage_mb={STATE_CACHE_MB}")
        if options.checkpoint_ms is not None:
            flags.append(f"--checkpointing_interval={options.checkpoint_ms}")
            flags.append(f"--min_pause_between_checkpoints={PAUSE_MS}")
            # Else what a step gives out while a checkpoint closes its bundle is kept until its next bundle begins: the
            # one element that says what to read may never leave its step.
            flags.append("--finish_bundle_before_checkpointing")
    return flags


def _runner(pool: WorkerPool | None, asked: FlinkOptions, workers: int, log: Callable[[], str]) -> Any:
    import grpc
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PortableOptions
    from apache_beam.runners.portability.portable_runner import PortableRunner
    from apache_beam.runners.runner import PipelineState

    from beamsplit.runners.beam_patches.parts_apart import set_parts_apart

    master, told_in = asked.master, asked.told_in

    class Runner(PortableRunner):
        """Remembers its job, and gives it up when workers cannot start: Flink would try again for ever."""

        cluster_job: ClusterJob | None = None
        """As a session cluster knows it, once it is submitted."""

        _result: Any = None
        _done = False
        _over = threading.Event()

        def run_portable_pipeline(self, pipeline: Any, options: Any) -> Any:
            if asked.streaming and (turns := set_parts_apart(pipeline)):
                options.view_as(PortableOptions).sdk_worker_parallelism = workers * turns
            if master is not None:
                self.cluster_job = ClusterJob(master, options.view_as(GoogleCloudOptions).job_name)
            self._result = super().run_portable_pipeline(pipeline, options)
            if pool is not None:
                threading.Thread(target=self._watch, args=(pool,), name="flink-watch", daemon=True).start()
                if self.cluster_job is not None and told_in is not None:
                    threading.Thread(target=self._tell, args=(self.cluster_job,), name="flink-job", daemon=True).start()
            return self._result

        def failures(self) -> str:
            """What the job has failed of so far; Flink starts it again each time."""
            return log() if self.cluster_job is None else self.cluster_job.failures()

        def _tell(self, job: ClusterJob) -> None:
            while (found := job.find()) is None:
                if self._over.wait(0.2):
                    return
            with contextlib.suppress(OSError):  # the command is over, and its folder gone
                Path(told_in or "").write_text(json.dumps({"master": master, "job": found}), encoding="utf-8")

        def _watch(self, pool: WorkerPool) -> None:
            pool.failed.wait()
            if pool.failure:
                self.end()

        def end(self) -> None:
            """Cancel the job unless it is over, and wait for that."""
            self._over.set()
            if self._result is not None:
                # Where the job server has ended, `see_it_over` asks the cluster.
                with contextlib.suppress(grpc.RpcError):
                    self._end()

        def _end(self) -> None:
            self._done = self._result.state == PipelineState.DONE
            if PipelineState.is_terminal(self._result.state):
                return
            if self.cluster_job is not None:
                self.cluster_job.cancel()
            self._result.cancel()
            deadline = time.monotonic() + CANCEL_SECONDS
            while not PipelineState.is_terminal(self._result.state) and time.monotonic() < deadline:
                time.sleep(0.05)

        def see_it_over(self) -> None:
            """Cancel what a cluster still runs: Beam calls a job cancelled which its job server has only let go of."""
            if self.cluster_job is not None and not self._done:
                self.cluster_job.cancel()

    return Runner()
