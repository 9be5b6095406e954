"""How many rows make a micro-batch: enough for a run to be efficient, few enough for the stages to overlap."""

from __future__ import annotations

import time
from collections.abc import Callable

from beamsplit.models.fitting.batch_size import CANDIDATES, MEMORY_CAP, BatchSizeChoice, find_batch_size

NEAR_BEST = 0.9
"""The smallest size with this share of the best rows a second is taken; the last tenth costs bubbles and memory."""

PER_STAGE = 4
"""Micro-batches a stage that a block is cut into at least: with fewer, stages wait for a good part of the time."""


def find_micro_batch(
    run: Callable[[int], object],
    *,
    bytes_per_row: int,
    stages: int = 2,
    block_rows: int | None = None,
    budget_seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchSizeChoice:
    """Measure a few sizes of the whole model and take the smallest that is efficient.

    Args:
        run: runs the whole model on that many rows.
        bytes_per_row: what crosses the widest cut and goes in and out of the model, of one row.
        stages: of the split, or the number of workers where that is not yet known.
        block_rows: rows that flow at once, where they are known: no micro-batch is larger than a share of them, or
            than one row.
        budget_seconds: for all runs.
        clock: gives seconds.
    """
    largest = max(CANDIDATES)
    if block_rows is not None:
        largest = max(1, min(largest, block_rows // (PER_STAGE * max(stages, 1))))
    found = find_batch_size(
        run,
        bytes_per_row=bytes_per_row,
        # One in each stage and two before it, as inline queues hold.
        memory_cap=max(MEMORY_CAP // (3 * max(stages, 1)), 1),
        candidates=[size for size in CANDIDATES if size <= largest],
        budget_seconds=budget_seconds,
        clock=clock,
    )
    best = max(size / seconds for size, seconds in found.measured)
    size, seconds = next(one for one in found.measured if one[0] / one[1] >= NEAR_BEST * best)
    return BatchSizeChoice(size, size / seconds, found.measured)
