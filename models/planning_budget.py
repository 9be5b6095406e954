"""What planning may cost beside the job that it is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

LEAST_SECONDS = 2.0
"""What planning may take of any job."""

SHARE = 0.1
"""What it may take of a job's own estimated time, where that is more."""


@dataclass(frozen=True)
class PlanningBudget:
    """Seconds that runs of the model may take before the job begins: 2, or a tenth of the job's own time.

    It is asked how many runs it allows and never spent: what is left out depends on the model and on the job, and not
    on what else the machine did meanwhile.

    >>> PlanningBudget(rows=8, workers=2).allows(24, 0.25)
    False
    >>> PlanningBudget(rows=8_000, workers=2).allows(24, 0.25)
    True
    >>> PlanningBudget().allows(24, 3600.0)
    True
    """

    seconds: float | None = None
    """As the user says (`--plan_seconds`); None leaves it to the job."""

    rows: int | Callable[[], int | None] | None = None
    """Of the job, or what counts them when asked; None where nobody knows or it does not end, which allows all."""

    workers: int = 1
    """That share them."""

    def limit(self, row_seconds: float) -> float:
        """Seconds for all of planning.

        Args:
            row_seconds: that the model takes for a row.
        """
        if self.seconds is not None:
            return self.seconds
        rows = self.rows() if callable(self.rows) else self.rows
        if rows is None:
            return math.inf
        return max(LEAST_SECONDS, SHARE * rows * row_seconds / max(1, self.workers))

    def allows(self, runs: int, row_seconds: float) -> bool:
        """Whether so many runs of one row each fit into it."""
        return runs * row_seconds <= self.limit(row_seconds)


UNLIMITED = PlanningBudget()
"""Of a job of unknown length, and of planning that is all that is asked for."""
