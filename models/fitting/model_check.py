"""By how much a new model may differ from the one in use on rows that were chosen for it.

golden rows -> old model, new model -> difference of each row and output -> the greatest -> within the tolerance?
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.tolerance import Amount, Tolerance, is_of_floats
from beamsplit.models.scoring.scorer import Scored, Scorer
from beamsplit.models.values.packed_rows import unpack_rows
from beamsplit.models.values.row_difference import greatest_size, row_differences


@dataclass(frozen=True)
class ModelCheck:
    """Rows that a new model is compared on with the one in use."""

    name: str
    """What they were read from."""

    packed: bytes
    """As the model gets them (`pack_rows`)."""

    tolerance: Tolerance

    @cached_property
    def rows(self) -> pa.RecordBatch:
        """The rows."""
        return unpack_rows(self.packed)

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows, which are there as bytes."""
        return {name: value for name, value in self.__dict__.items() if name != "rows"}


def compare(old: Scorer, new: Scorer, check: ModelCheck) -> None:
    """Raise if the new model fails on golden rows that the old one scores, or differs by more than may be.

    Raises:
        UsageError: with the output, the greatest difference and what is allowed.
    """
    before, after = old.score(check.rows), new.score(check.rows)
    scored = dict(before.failures)
    worse = [(row, reason) for row, reason in after.failures if row not in scored]
    if worse:
        row, reason = worse[0]
        raise UsageError(f"it fails on row {row} of --model_check {check.name}, which the one before scores: {reason}")
    count = check.rows.num_rows
    good = np.intersect1d(_good(before, count), _good(after, count))
    worst, reason = 1.0, ""
    for column, was, now in zip(old.plan.outputs, before.columns, after.columns, strict=True):
        allowed = check.tolerance.of(column.field)
        was, now = (
            one.take(pa.array(np.searchsorted(_good(scored, count), good)))
            for one, scored in ((was, before), (now, after))
        )
        excess, told = _excess(was, now, allowed, good)
        if excess > worst or (not reason and told):
            worst, reason = excess, f"its output {column.field.name!r} {told} of --model_check {check.name}"
    if reason:
        raise UsageError(reason)


def _good(scored: Scored, count: int) -> np.ndarray[Any, Any]:
    return np.arange(count) if scored.good is None else scored.good


def _excess(was: pa.Array, now: pa.Array, allowed: Amount, rows: np.ndarray[Any, Any]) -> tuple[float, str]:
    """(how many times what is allowed the outputs differ, that in words); empty words where they do not by more."""
    apart = row_differences(was, now)
    if not len(apart):
        return 0.0, ""
    if not is_of_floats(was.type):
        differing = int(np.count_nonzero(apart))
        share = differing / len(apart)
        if share <= allowed.number:
            return 0.0, ""
        first = rows[np.argmax(apart)]
        told = f"differs in {differing} of {len(apart)} rows, {allowed} allowed, first in row {first}"
        return share / allowed.number if allowed.number else np.inf, told
    most = allowed.number * greatest_size(was) if allowed.share else allowed.number
    at = int(np.argmax(apart))
    if apart[at] <= most:
        return 0.0, ""
    by = f"by {apart[at]:.6g}" if np.isfinite(apart[at]) else "by NaN, infinity or its shape"
    may = f"{allowed} ({most:.6g})" if allowed.share else f"{allowed}"
    return apart[at] / most if most else np.inf, f"differs {by} from the one before, {may} allowed, in row {rows[at]}"
