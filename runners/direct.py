"""Beam's in-process runner: workers as threads or processes of this machine."""

from __future__ import annotations

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Named by its module: Beam's own `DirectRunner` may switch to Prism and download it at start."""

WORKER_TYPES = ("thread", "process")


def direct_flags(workers: int, worker_type: str) -> list[str]:
    """Beam options for N workers.

    Threads run the pipeline's bundles side by side in this process, without gRPC between them (running mode
    `in_memory`); processes are workers of Beam's own, started for the job.
    """
    if worker_type not in WORKER_TYPES:
        raise ValueError(f"worker type {worker_type!r} is not one of {', '.join(WORKER_TYPES)}")
    mode = "multi_processing" if worker_type == "process" and workers > 1 else "in_memory"
    return [f"--runner={RUNNER}", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]


def is_direct(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return runner in ("DirectRunner", "direct", "FnApiRunner", RUNNER)
