"""Beam's in-process runner: workers as threads or processes of this machine."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beamsplit.runners.beam_patches.bundle_ends import hasten_bundle_ends

if TYPE_CHECKING:
    from beamsplit.runners.worker_processes import WorkerProcesses

NAMES = ("DirectRunner", "direct", "FnApiRunner")
WORKER_TYPES = ("thread", "process")

WAKE_SECONDS = 0.2
"""How often the thread of the command looks for signals."""

_ours = threading.local()
"""`_ours.job` is set in the thread that runs a job of ours."""

GIVE_UP_SECONDS = 5.0
"""How long Beam may take to fail after one of its worker processes has ended."""


def is_direct(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return runner in NAMES


def direct_flags(workers: int) -> list[str]:
    """Beam options for N workers, threads or processes."""
    return [f"--direct_num_workers={workers}", "--direct_running_mode=in_memory"]


def needs_processes(workers: int, worker_type: str, distributed: bool) -> bool:
    """Whether there are worker processes: one worker runs in this one, unless steps have environments of their own."""
    return worker_type == "process" and (workers > 1 or distributed)


def direct_runner(workers: int, worker_type: str, command: str | None = None, distributed: bool = False) -> Any:
    """The runner itself.

    Made by its class: Beam's own `DirectRunner` may switch to Prism and download it at start. Threads run the
    pipeline's bundles side by side in this process, without gRPC between them; processes are SDK workers that
    Beam starts for the job and ends with it.

    Args:
        workers: how many, for each environment of the pipeline.
        worker_type: `thread` or `process`.
        command: starts a process, from `WorkerProcesses`; None starts one that nobody ends but the runner.
        distributed: start processes also for one worker: steps with environments of their own shall not share this one.
    """
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    hasten_bundle_ends()
    if worker_type not in WORKER_TYPES:
        raise ValueError(f"worker type {worker_type!r} is not one of {', '.join(WORKER_TYPES)}")
    if not needs_processes(workers, worker_type, distributed):
        return FnApiRunner()
    from beamsplit.runners.beam_patches.loopback import keep_servers_here

    keep_servers_here()
    command = command or f"exec {shlex.quote(sys.executable)} -m beamsplit.runners.process_worker"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def run_direct(pipeline: Any, processes: WorkerProcesses | None = None, watch: Callable[[], None] | None = None) -> Any:
    """Run a pipeline on this runner to its end; its result.

    On a thread of its own, since a runner that was interrupted or has lost a worker may wait for ever for what that
    worker would have read. The caller's thread goes on at once with a signal, and soon after the end of a worker, or
    after `watch`, which is called now and then, raises.

    Raises:
        WorkerEnded: a worker process ended, and Beam did not.
        Exception: the job failed.
    """
    ended = threading.Event()
    results: list[Any] = []
    failures: list[BaseException] = []

    def run() -> None:
        _ours.job = True
        try:
            result = pipeline.run()
            result.wait_until_finish()
            results.append(result)
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    logging.getLogger("apache_beam.runners.portability.fn_api_runner.fn_runner").addFilter(_is_news)
    threading.Thread(target=run, name="job", daemon=True).start()
    # Not for ever: a signal that comes just before a thread sleeps is handled only when it wakes.
    while not ended.wait(WAKE_SECONDS):
        if processes is not None and processes.failed and not ended.wait(GIVE_UP_SECONDS):
            processes.raise_ended()
        if watch is not None:
            watch()
    if failures:
        raise failures[0]
    return results[0]


def _is_news(record: logging.LogRecord) -> bool:
    """Not that of Beam that workers which are threads, as we want them, may be none."""
    return not (getattr(_ours, "job", False) and "direct_num_workers is not equal to 1" in record.getMessage())
