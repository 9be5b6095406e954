"""How far a reader has come, where Beam does not know: importing this module makes Beam's progress never NaN.

Beam judges a step that reads by the bytes that it has given out: elements x the mean of the sizes sampled. After some
30 elements its sampling skips hundreds, in the next bundle too, whose mean is then NaN; when Prism asks to split a
bundle that is slow, `int(NaN)` fails the job.

Beam: no issue yet. To be reported: `OperationCounters.restart_sampling` keeps how many elements are to be skipped, so
that a bundle of few elements has no size; `DataInputOperation._compute_split` fails on its progress (seen in 2.77).
"""

from __future__ import annotations

from typing import Any

from apache_beam.io.iobase import RestrictionProgress

with_completed_of_beam = RestrictionProgress.with_completed


def with_known(progress: RestrictionProgress, completed: Any) -> RestrictionProgress:
    """`RestrictionProgress.with_completed`; nothing is completed as far as one knows where `completed` is NaN.

    >>> with_known(RestrictionProgress(completed=0.0, remaining=1.0), float("nan")).fraction_completed
    0.0
    """
    return with_completed_of_beam(progress, completed if completed == completed else 0)


RestrictionProgress.with_completed = with_known  # type: ignore[assignment, method-assign]
