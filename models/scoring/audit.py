"""Rows of a job that are scored once more, each alone, and compared with what they gave beside others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from beamsplit.models.scoring.scorer import Scored, Scorer
from beamsplit.models.values.difference import QUANTISED_TOLERANCE, difference_of

Array: TypeAlias = "np.ndarray[Any, Any]"

STREAM_ROWS = 100_000
"""Rows of which as many are audited as are asked for, where nothing is known of how many there are."""


class AuditFailed(RuntimeError):
    """A row came out otherwise than it does alone; one line with the row."""


@dataclass(frozen=True)
class Audit:
    """How much is audited, and what comes of a difference."""

    share: float
    """Of all rows."""

    warn: bool = False
    """Whether a difference is only told."""


@dataclass(frozen=True)
class Audited:
    """What came of some rows."""

    rows: int
    differing: tuple[tuple[int, str], ...] = ()
    """(position in the block, what differs) of each row that came out otherwise."""


def draw(audit: Audit, rows: int, rng: np.random.Generator, first: bool) -> Array:
    """Ascending positions of the rows of a block that are audited; of a worker's first block one at least."""
    wanted = audit.share * rows
    count = int(wanted) + int(rng.random() < wanted - int(wanted))
    count = min(rows, max(count, int(first)))
    return np.sort(rng.choice(rows, count, replace=False))


def audit_rows(scorer: Scorer, block: pa.RecordBatch, scored: Scored, rows: Sequence[int]) -> Audited:
    """Score rows alone and compare.

    Args:
        scorer: the one that scored the block.
        block: as it went in.
        scored: what came of it.
        rows: positions among those that were scored.
    """
    positions = scored.good if scored.good is not None else np.arange(block.num_rows)
    differing = []
    for row in rows:
        position = int(positions[row])
        alone = scorer.score(block.slice(position, 1))
        reason = alone.failures[0][1] if alone.failures else _difference(scorer, scored, alone, row)
        if reason is not None:
            differing.append((position, reason))
    return Audited(len(rows), tuple(differing))


def _difference(scorer: Scorer, scored: Scored, alone: Scored, row: int) -> str | None:
    plan = scorer.plan
    for column, together, single in zip(plan.outputs, scored.columns, alone.columns, strict=True):
        (a, lengths), (b, others) = _taken_apart(together.slice(row, 1)), _taken_apart(single)
        difference, close = difference_of(a, b) if lengths == others else (np.inf, False)
        if close or (plan.alike and difference <= QUANTISED_TOLERANCE * _size(b)):
            continue
        return f"output {column.name} is {f'off by {difference:.3g}' if np.isfinite(difference) else 'another'}"
    return None


def _taken_apart(column: pa.Array) -> tuple[Array, list[int]]:
    """(numbers, how long each list is, level by level)."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    lengths: list[int] = []
    while pa.types.is_nested(column.type):
        lengths += [len(one) for one in column]
        column = column.flatten()
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return np.asarray(column.to_pylist(), dtype=object) if text else column.to_numpy(zero_copy_only=False), lengths


def _size(values: Array) -> float:
    """Of a row: its largest number."""
    if values.dtype.kind not in "fiu" or not values.size:
        return 0.0
    finite = values[np.isfinite(values)]
    return float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0
