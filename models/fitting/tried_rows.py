"""Sample rows that the model takes, found by running them one by one."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.binding import Binding, BoundBlock
from beamsplit.models.independence.judge import unlike_first
from beamsplit.models.planning_budget import PlanningBudget
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.session import ModelRunError, Session
from beamsplit.models.scoring.scorer import Array, run_once

SAMPLE_TRIES = 32
"""Sample rows tried one by one where the first ones make the model fail."""

ALL_RUNS = 24
"""Runs of a row that fitting a model, its batch size and its workers take where nothing is left out, about."""

FEW_ROWS = 2
"""Rows that are run alone and together where the planning budget is for fewer runs than `ALL_RUNS`."""

STOPPED_SECONDS = 60.0
"""About how long sample rows are tried whose runs have to be stopped."""


@dataclass(frozen=True)
class TriedRows:
    """Sample rows that the model takes, the first of which were run, each alone."""

    sample: pa.RecordBatch
    alone: tuple[dict[str, Array], ...]
    seconds: float
    """Of the fastest run."""

    few: bool
    """Whether the planning budget ended it."""


@dataclass(frozen=True)
class Look:
    """How many rows are looked at."""

    count: int
    """Of those that run."""

    unlike: bool
    """Whether the most unlike ones of the sample come first."""

    budget: PlanningBudget
    """For a model that takes long."""


def try_rows(session: Session, binding: Binding, sample: pa.RecordBatch | None, looked: Look) -> TriedRows | None:
    """Sample rows of the most common shape that the model takes one by one; None if there are none."""
    count, unlike = looked.count, looked.unlike
    if sample is None or not sample.num_rows:
        return None
    bound = binding.open(sample)
    bad = sorted({row for row, _ in bound.bad_rows()})
    rows = np.delete(np.arange(sample.num_rows), bad)
    groups = bound.groups(rows)
    if groups:
        rows = max(groups, key=len)
    if unlike:
        rows = unlike_first(binding, bound, rows, 2 * count)
    taken: list[int] = []
    tried: set[int] = set()
    alone: list[dict[str, Array]] = []
    seconds, few = math.inf, False
    limit = session.options.run_timeout
    enough = time.monotonic() + max(STOPPED_SECONDS, 3 * (limit or 0))
    for row in rows[:SAMPLE_TRIES].tolist():
        if limit is not None and time.monotonic() > enough:
            break  # each of them takes that long to be stopped
        tried.add(row)
        began = time.perf_counter()
        outputs = run_row(session, bound, row)
        if outputs is not None:
            taken.append(row)
            alone.append(outputs)
            seconds = min(seconds, time.perf_counter() - began)
        # The first run of a session takes longer than others.
        few = len(taken) == FEW_ROWS and not looked.budget.allows(ALL_RUNS, seconds)
        if len(taken) == count or few:
            break
    if not taken:
        return None
    # The rows tried come first: they are the ones that are known to run.
    rest = [row for row in rows.tolist() if row not in tried] if len(taken) == count or few else []
    kept = taken + rest
    # Taking rows one by one imports pyarrow.compute, which a small job would notice.
    known = sample if kept == list(range(sample.num_rows)) else sample.take(pa.array(kept))
    # One row is all that runs: what is left out of two is left out of it.
    few = few or (len(taken) < FEW_ROWS and not looked.budget.allows(ALL_RUNS, seconds))
    return TriedRows(known, tuple(alone), seconds, few)


def run_row(session: Session, bound: BoundBlock, row: int) -> dict[str, Array] | None:
    """Outputs of one row alone, by name; None where the model fails on it."""
    context.run = np.array([row])
    try:
        return run_once(session, bound.take(context.run))
    except ModelRunError:
        return None
    finally:
        context.run = None
