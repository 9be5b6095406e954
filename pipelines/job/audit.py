"""`--audit`: rows of the job that are scored once more, each alone."""

from __future__ import annotations

import argparse
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import Fit
from beamsplit.models.scoring.audit import STREAM_ROWS, Audit
from beamsplit.transforms.infer.step import InferStep

ROWS = 100
"""Of a job, unless said otherwise."""


def read_audit(text: str) -> tuple[int, bool]:
    """(rows, whether a difference is only told) of `N`, `warn` or `N:warn`.

    Raises:
        ValueError: it is something else.
    """
    count, _, word = text.partition(":")
    if count == "warn" and not word:
        return ROWS, True
    rows = int(count)
    if rows < 1 or word not in ("", "warn") or text.endswith(":"):
        raise ValueError(text)
    return rows, word == "warn"


def with_audit(options: argparse.Namespace, infer: InferStep, made: Fit, apart: bool, total: int | None) -> InferStep:
    """The step with the audit that is asked for.

    Args:
        options: what `pipelines.options.score.parse` gave.
        infer: runs the model.
        made: model and data brought together.
        apart: whether stages or shards have workers of their own.
        total: rows of the job, where that is known.

    Raises:
        UsageError: nothing can be audited so.
    """
    if options.audit is None:
        return infer
    if apart:
        raise UsageError(
            "--audit scores rows again where the whole model is, and --placement distributed has it in no worker; "
            "leave --audit out, or type --placement inline"
        )
    if made.random:
        raise UsageError(
            f"--audit compares a row with itself, and the model draws random numbers ({made.random[0]}): "
            "leave --audit out"
        )
    rows, warn = options.audit
    return replace(infer, audit=Audit(min(1.0, rows / max(1, total or STREAM_ROWS)), warn))


def audit_fact(options: argparse.Namespace, total: int | None) -> dict[str, str]:
    """What is audited, as a fact of the plan."""
    if options.audit is None:
        return {}
    rows, warn = options.audit
    of = "" if total else f" of {STREAM_ROWS:,}"
    told = "differences are told" if warn else "a difference fails the job"
    return {"audit": f"about {rows:,} rows{of} are scored again, each alone; {told}"}
