"""The batch size of a model that was brought together with its data, measured on sample rows."""

from __future__ import annotations

import numpy as np

from beamsplit.models.fitting.batch_size import CANDIDATES, BatchSizeChoice, find_batch_size
from beamsplit.models.fitting.fitted import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.mapped import unmapped
from beamsplit.models.running.session import ModelRunError, Session
from beamsplit.models.scoring.scorer import Array

BATCH_SIZE_SECONDS = 0.15
"""For all runs that measure how many rows a run should take."""


def choose_batch_size(fit: Fit, memory_cap: int, budget_seconds: float = BATCH_SIZE_SECONDS) -> BatchSizeChoice | None:
    """Measure how many rows a run should take; None where there is no sample to measure with, or no memory."""
    if fit.sample is None or fit.plan.row_by_row:
        return None
    with unmapped(fit.session) as session:
        return None if session is None else _measured_batch_size(fit, session, memory_cap, budget_seconds)


def _measured_batch_size(fit: Fit, session: Session, memory_cap: int, budget_seconds: float) -> BatchSizeChoice:
    assert fit.sample is not None
    bound = fit.plan.binding.open(fit.sample)
    count = fit.sample.num_rows

    first = 0

    def feeds(rows: int) -> dict[str, Array]:
        # Other rows each time: trees run several times faster on rows that the processor has just seen.
        nonlocal first
        first = (first + rows) % count
        return bound.take((first + np.arange(rows)) % count)

    def run(rows: int) -> None:
        nonlocal count
        try:
            session.run(feeds(rows))
        except ModelRunError:
            if count <= SAMPLE_RUN_ROWS:
                raise
            # A row makes the model fail: go on with those that are known to run.
            count = SAMPLE_RUN_ROWS
            session.run(feeds(rows))

    blocks, most = blocks_of(session.model.rewrites), fit.plan.most_rows or CANDIDATES[-1]
    one = feeds(1)
    outputs = session.run(one)
    bytes_per_row = sum(values.nbytes for values in [*one.values(), *outputs])
    return find_batch_size(
        run,
        bytes_per_row=bytes_per_row,
        memory_cap=memory_cap,
        budget_seconds=budget_seconds,
        candidates=[rows for rows in CANDIDATES if rows <= most] if blocks is None else (blocks.rows,),
    )
