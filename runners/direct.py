"""Beam's in-process runner: workers as threads or processes of this machine."""

from __future__ import annotations

import shlex
import sys
from typing import Any

NAMES = ("DirectRunner", "direct", "FnApiRunner")
WORKER_TYPES = ("thread", "process")


def is_direct(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return runner in NAMES


def direct_flags(workers: int) -> list[str]:
    """Beam options for N workers, threads or processes."""
    return [f"--direct_num_workers={workers}", "--direct_running_mode=in_memory"]


def direct_runner(workers: int, worker_type: str, debug: bool = False, apart: bool = False) -> Any:
    """The runner itself.

    Made by its class: Beam's own `DirectRunner` may switch to Prism and download it at start. Threads run the
    pipeline's bundles side by side in this process, without gRPC between them; processes are SDK workers that
    Beam starts for the job and ends with it.

    Args:
        workers: how many, for each environment of the pipeline.
        worker_type: `thread` or `process`.
        debug: let processes log.
        apart: start processes also for one worker: steps with environments of their own shall not share this one.
    """
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    _end_bundles_promptly()
    if worker_type not in WORKER_TYPES:
        raise ValueError(f"worker type {worker_type!r} is not one of {', '.join(WORKER_TYPES)}")
    if worker_type == "thread" or (workers == 1 and not apart):
        return FnApiRunner()
    module = "apache_beam.runners.worker.sdk_worker_main" if debug else "runners.quiet_worker"
    command = f"{shlex.quote(sys.executable)} -m {module}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def _end_bundles_promptly() -> None:
    """Let Beam's state sampler look every millisecond instead of every 200.

    Each bundle ends by waiting for its sampler's thread to wake up: a tenth of a second on average, which a job of
    one bundle a worker pays in full. The period is a default argument that no option reaches.
    """
    from apache_beam.runners.worker.statesampler import DEFAULT_SAMPLING_PERIOD_MS, StateSampler

    if StateSampler.__init__.__defaults__ == (DEFAULT_SAMPLING_PERIOD_MS,):
        StateSampler.__init__.__defaults__ = (1,)
