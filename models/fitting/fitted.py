"""What is known of the data, and a model that was brought together with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from beamsplit.models.binding.nulls import NO_NULLS, Nulls
from beamsplit.models.running.session import Session
from beamsplit.models.scoring.scorer import ScoringPlan

SAMPLE_RUN_ROWS = 3
"""Rows in the runs that tell the rows axes: enough for two unlike sizes above 1."""


@dataclass(frozen=True)
class DataFacts:
    """What the user said of the data, as `bind` takes it."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    narrow: bool = False
    text_source: bool = False
    ignore: Collection[str] = ()
    together: bool = False
    """Whether rows may run together that only influence one another through scales of all rows of a run."""

    nulls: Nulls = NO_NULLS


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
