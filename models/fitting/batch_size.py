"""How many rows to run at once: measured, within a time budget and a memory cap."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beamsplit.models.running.session import ModelRunError

MEMORY_CAP = 256 * 1024 * 1024
"""Bytes of inputs and outputs that one run may hold, by default."""

CANDIDATES = tuple(1 << power for power in range(17))
"""Powers of two from 1 to 65,536 rows."""

FEW_RUNS = 4
"""Runs of one row: where the budget is for fewer, a model is slow."""

SLOW_RUNS, SLOW_SECONDS = 20, 5.0
"""Runs of one row that a slow model's search may take, and the most seconds."""

NEAR_BEST = 0.95
"""The smallest size that reaches this share of the best rows a second is chosen: it delays and holds less."""

LEAST_SECONDS = 0.001
"""Of those near the best, sizes whose run is shorter are passed over: what surrounds a run holds Python's lock."""

_PATIENCE = 3
"""Sizes in a row without gain that end the search."""

_REPEATS = 5
"""Runs of one size at most; the fastest counts, since whatever else the machine does only adds."""


@dataclass(frozen=True)
class BatchSizeChoice:
    """The size that was chosen and what it rests on."""

    batch_size: int
    """Rows in one run."""

    rows_per_second: float
    """What that size reached, in the fastest run."""

    measured: tuple[tuple[int, float], ...]
    """(rows, seconds for one run of them), in the order measured."""


def find_batch_size(
    run: Callable[[int], object],
    *,
    bytes_per_row: int,
    memory_cap: int = MEMORY_CAP,
    candidates: Sequence[int] = CANDIDATES,
    budget_seconds: float = 0.25,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchSizeChoice:
    """Double the rows of a run while that scores more of them a second, and choose the smallest size near the best.

    Sizes whose inputs and outputs take more than `memory_cap` bytes are left out (one row always may run). The
    search ends before a run that would, by what the last one took, go beyond the budget, when three sizes in a
    row bring nothing (and runs are not too short to tell), or at a size that the model cannot run.

    Args:
        run: runs the model on that many rows.
        bytes_per_row: inputs and outputs of one row together.
        memory_cap: bytes.
        candidates: sizes to try, rising.
        budget_seconds: seconds for all runs together, more for slow models (`SLOW_RUNS`); the first size is
            measured in any case.
        clock: gives seconds.
    """
    sizes = [size for size in candidates if size * max(bytes_per_row, 1) <= memory_cap] or [min(candidates)]
    began = clock()
    # The first run also makes room for the model's intermediate values, which is not to be measured.
    run(sizes[0])
    once = clock() - began
    if once > budget_seconds / FEW_RUNS:
        # Of a model whose weights are most of the work, one row takes as long as several: too long not to look.
        budget_seconds = max(budget_seconds, min(SLOW_RUNS * once, SLOW_SECONDS))
    measured: list[tuple[int, float]] = []
    best = 0.0
    without_gain = 0
    for i, size in enumerate(sizes):
        try:
            seconds = _fastest(run, size, budget_seconds / 20, clock)
        except ModelRunError:
            if not measured:
                raise
            # Too many rows at once, e.g. for the memory of a GPU.
            break
        measured.append((size, seconds))
        rate = size / seconds
        without_gain = 0 if rate > best * 1.02 else without_gain + 1
        best = max(best, rate)
        if (without_gain >= _PATIENCE and seconds >= LEAST_SECONDS) or i + 1 == len(sizes):
            break
        if clock() - began + seconds * sizes[i + 1] / size > budget_seconds:
            break
    near = [(size, s) for size, s in measured if size / s >= NEAR_BEST * best]
    chosen, seconds = next((one for one in near if one[1] >= LEAST_SECONDS), near[-1])
    return BatchSizeChoice(chosen, chosen / seconds, tuple(measured))


def _fastest(run: Callable[[int], object], size: int, share_seconds: float, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of some runs, which together take about `share_seconds` but are at least one."""
    began = clock()
    fastest = float("inf")
    for _ in range(_REPEATS):
        started = clock()
        run(size)
        ended = clock()
        fastest = min(fastest, ended - started)
        if ended - began >= share_seconds:
            break
    return max(fastest, 1e-9)
