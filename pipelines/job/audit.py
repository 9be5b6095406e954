"""`--audit`: rows of the job that are scored once more, each alone."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import Fit
from beamsplit.models.scoring.audit import STREAM_ROWS, Audit
from beamsplit.transforms.infer.step import InferStep


def with_audit(
    audit: tuple[int, bool] | None, infer: InferStep, fit: Fit, distributed: bool, total: int | None
) -> InferStep:
    """The step with the audit that is asked for.

    Args:
        audit: (about how many rows, whether a difference is only told); None for none.
        infer: runs the model.
        fit: model and data brought together.
        distributed: whether stages or shards have workers of their own.
        total: rows of the job, where that is known.

    Raises:
        UsageError: nothing can be audited so.
    """
    if audit is None:
        return infer
    if distributed:
        raise UsageError(
            "--audit scores rows again where the whole model is, and --placement distributed has it in no worker; "
            "leave --audit out, or type --placement inline"
        )
    if fit.random:
        raise UsageError(
            f"--audit compares a row with itself, and the model draws random numbers ({fit.random[0]}): "
            "leave --audit out"
        )
    rows, warn = audit
    return replace(infer, audit=Audit(min(1.0, rows / max(1, total or STREAM_ROWS)), warn))


def audit_fact(audit: tuple[int, bool] | None, total: int | None, filtered: bool) -> dict[str, str]:
    """What is audited, as a fact of the plan; `filtered`: of the rows that are counted some are left out."""
    if audit is None:
        return {}
    rows, warn = audit
    of = f" of {total or STREAM_ROWS:,}" if filtered or not total else ""
    if filtered:
        of += ", fewer by as many as --where leaves out,"
    told = "differences are told" if warn else "a difference fails the job"
    return {"audit": f"about {rows:,} rows{of} are scored again, each alone; {told}"}
