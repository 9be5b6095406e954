"""How many workers, of which kind, with how many threads each."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.planning_budget import PlanningBudget
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import SessionOptions, gpu_count, resolve_providers
from beamsplit.models.running.thread_scaling import thread_scaling
from beamsplit.pipelines.options.values import WorkerOptions
from beamsplit.transforms.step import Step

PROCESS_START_SECONDS = 2.5
"""What a job pays for workers that are processes: each imports Beam and loads the model."""

TIMED_BYTES = 256 << 20
"""Most bytes of the rows that it is measured on, where the sample is not larger itself."""

TIMED_SECONDS = 0.03
"""About how long one thread is timed for, and how long all of them together."""

FEW_ROWS = 2
"""Rows of the first look, which may be images that take a tenth of a second each."""

LITTLE = 0.25
"""Share of the model's seconds that prepare steps may take for threads to be chosen without being timed."""

DOUBTFUL = 0.75
"""Share of what the machine gives below which threads are timed again."""


@dataclass(frozen=True)
class Replicas:
    """The replicas of the model."""

    count: int
    gpus: int
    """GPUs that local workers take in turn; 0 on the CPU."""

    session: SessionOptions
    """Of each worker: workers times threads fill the cores."""


def cores() -> int:
    """Cores this process may use, which a container may have cut."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_workers(asked: WorkerOptions, local: bool) -> Replicas:
    """One worker a GPU, else one a core, unless the user says otherwise.

    Args:
        asked: what was said of them.
        local: whether they run on this machine: only then are its cores and GPUs theirs.

    Raises:
        UsageError: a provider is not here.
    """
    names = resolve_providers(asked.providers)
    gpus = gpu_count() if local and names[0] != CPU else 0
    count = asked.count or gpus or cores()
    threads = asked.threads or max(1, cores() // count)
    return Replicas(count, gpus, SessionOptions(names, threads, 0 if gpus else None, run_timeout=asked.run_timeout))


def planning_budget(asked: WorkerOptions, rows: Callable[[], int | None]) -> PlanningBudget:
    """What runs of the model may take before a job of so many rows begins; they are counted once the model has run."""
    return PlanningBudget(asked.plan_seconds, rows, asked.count or cores())


def choose_worker_type(
    steps: Sequence[Step],
    raw: pa.RecordBatch | None,
    block_rows: int,
    workers: int,
    rows: int | None,
    run_timeout: float | None = None,
) -> tuple[str, str]:
    """(`thread` or `process`, what was measured): whichever is done first, start-up counted.

    Args:
        steps: everything that is done to a block.
        raw: sample rows as they are read.
        block_rows: rows of a block: on a few rows, what is measured is the cost of a call.
        workers: how many there will be.
        rows: rows in the input; None where nothing is known.
        run_timeout: seconds after which runs are stopped: where one was, nothing more is measured.
    """
    if workers == 1 or raw is None or not raw.num_rows:
        return "thread", ""
    first = _seconds(_scoring(steps, raw.slice(0, 1)))
    few = raw.slice(0, FEW_ROWS)
    seconds_a_row = first if _stopped(first, run_timeout) else _seconds(_scoring(steps, few)) / few.num_rows
    if seconds_a_row * few.num_rows < TIMED_SECONDS / 10:
        seconds_a_row = _seconds(_scoring(steps, raw)) / raw.num_rows
    if _stopped(seconds_a_row * raw.num_rows, run_timeout):
        return "thread", ""
    enough = int(TIMED_SECONDS / workers / max(seconds_a_row, 1e-9))
    # A large cell repeated many times would be more than a column can hold.
    timed = max(1, min(block_rows, enough, raw.num_rows * max(1, TIMED_BYTES // max(1, raw.nbytes))))
    block = pa.concat_batches([raw] * -(-timed // raw.num_rows)).slice(0, timed)
    once = _scoring(steps, block)
    alone = _seconds(once) * (rows or timed) / timed
    if alone * (1 - 1 / workers) < PROCESS_START_SECONDS:
        # Processes that scale perfectly gain less on threads that do not scale at all than it takes to start them.
        return "thread", ""
    speedup = max(1.0, thread_scaling(once, workers, budget_seconds=TIMED_SECONDS))
    # What the machine gives to work that holds no lock of Python's: others may be using it too.
    machine = max(1.0, thread_scaling(_hash, workers, budget_seconds=TIMED_SECONDS))
    if speedup < DOUBTFUL * machine:
        # A short look catches whatever else runs at that moment: look longer before paying for processes.
        speedup = max(speedup, thread_scaling(once, workers, budget_seconds=10 * TIMED_SECONDS))
    by_threads, by_processes = alone / speedup, alone / max(machine, speedup) + PROCESS_START_SECONDS
    kind = "thread" if by_threads <= by_processes else "process"
    return kind, f"measured: {workers} threads do {speedup:.1f} times the work of one"


def model_is_most(prepare: Sequence[Step], raw: pa.RecordBatch | None, row_seconds: float) -> bool:
    """Whether what is done to a row before the model, which may hold Python's lock, takes little beside the model.

    Args:
        prepare: steps before the model.
        raw: sample rows as they are read.
        row_seconds: that the model takes for a row, without that lock.
    """
    if raw is None or not raw.num_rows or not prepare:
        return True
    once = _scoring(prepare, raw.slice(0, 1))
    once()  # What is made at first use (a tokenizer, a decoder) is done once.
    return _seconds(once) < LITTLE * row_seconds


def _stopped(seconds: float, run_timeout: float | None) -> bool:
    """Whether a run among those that took so long may have been stopped."""
    return run_timeout is not None and seconds >= run_timeout


def _scoring(steps: Sequence[Step], block: pa.RecordBatch) -> Callable[[], None]:
    def once() -> None:
        current = block
        for step in steps:
            current = step(current).block
            if not current.num_rows:
                return

    return once


def _hash() -> None:
    hashlib.sha256(_HASHED).digest()


_HASHED = bytes(1 << 20)
"""Hashing it takes about a millisecond, without Python's lock."""


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
