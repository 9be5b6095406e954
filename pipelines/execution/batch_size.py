"""Rows of a run of the whole model: given, or measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.fitting.fit import Fit
from beamsplit.models.fitting.fitted_batch import choose_batch_size
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.options.division import Count, Parallelism
from beamsplit.pipelines.report.units import show_seconds

GAIN = 0.8
"""Share of a row's seconds alone below which a row in a run of two shows that larger runs pay."""

MODEL_MEMORY_CAP = 256 << 20
"""Most bytes of inputs and outputs of one run, for `--batch_size auto`."""


def known_batch_size(parallelism: Parallelism, wanted: Count, fit: Fit) -> Count:
    """`--batch_size`; of a large model that runs in parts `--micro_batch`, so that it need not be loaded to measure."""
    return parallelism.micro_batch if fit.session.options.mapped and parallelism.micro_batch else wanted


def _gains(run_seconds: Sequence[tuple[int, float]]) -> bool:
    """Whether a row takes less in a run of several, so that it pays to measure which number of them is best."""
    rows, seconds = run_seconds[-1]
    return seconds / rows < GAIN * run_seconds[0][1]


def with_batch_size(fit: Fit, wanted: Count) -> tuple[ScoringPlan, str]:
    """(the plan with its batch size, given or measured; that in words)."""
    if fit.plan.row_by_row:
        return replace(fit.plan, batch_size=1), "1 (row by row)"
    if isinstance(wanted, int):
        plan = replace(fit.plan, batch_size=wanted)
        more = f" (not {wanted}: more rows were not seen to keep apart)" if plan.batch_size < wanted else ""
        return plan, f"{plan.batch_size}{more}"
    if fit.run_seconds and not _gains(fit.run_seconds):
        _, seconds = fit.run_seconds[0]
        return replace(fit.plan, batch_size=1), f"1 (a row takes {show_seconds(seconds)}, and no less beside another)"
    choice = choose_batch_size(fit, MODEL_MEMORY_CAP)
    if choice is None:
        lacking = "memory to measure it" if fit.sample is not None else "sample rows to measure with"
        return replace(fit.plan, batch_size=32), f"32 (no {lacking})"
    return (
        replace(fit.plan, batch_size=choice.batch_size),
        f"{choice.batch_size} (measured: {choice.rows_per_second:,.0f} rows/s a worker)",
    )
