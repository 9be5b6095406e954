"""Rows of a source, brought together with the model."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.fitting.fit import Fit
from beamsplit.transforms.step import Step


@dataclass(frozen=True)
class Bound:
    """Rows of a source, and the model that takes them."""

    schema: pa.Schema
    """The columns that are read, without their origin."""

    prepare: tuple[Step, ...]
    prepared: pa.Schema
    """Of blocks that reach the model."""

    fit: Fit
    """Model and sample rows brought together."""

    raw: pa.RecordBatch | None = None
    """The first rows as they are read; None where there are none, or none are read before the job."""

    rows: pa.RecordBatch | None = None
    """The same, prepared."""
