"""A model that was brought together with data."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.running.session import Session
from beamsplit.models.scoring.scorer import ScoringPlan

SAMPLE_RUN_ROWS = 3
"""Rows in the runs that tell the rows axes: enough for two unlike sizes above 1."""


@dataclass(frozen=True)
class Fit:
    """A plan that runs, with how it was come by."""

    plan: ScoringPlan
    session: Session
    sample: pa.RecordBatch | None
    """Sample rows that the model takes, all of one shape; None if there were none."""

    notes: tuple[str, ...] = ()
    """Lines for the user: what was changed or found that may surprise."""

    independence: str = ""
    """Whether rows influence one another, and how that is known, in words."""

    random: tuple[str, ...] = ()
    """Operators that draw random numbers, so that no row comes out twice alike."""

    run_seconds: tuple[tuple[int, float], ...] = ()
    """(rows, seconds) of the only runs that the planning budget allowed, those of one row first; empty where it allowed
    all that are useful."""
