"""Whether splitting helps, said with the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.cost.cluster import format_bytes, format_rate
from beamsplit.models.split.plan import Alternative, Plan

EVEN = 1.03
"""Ratios below this are no difference: two measurements of the same thing differ by as much."""


def rank(alternatives: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """The best first: those that fit the workers' memory before those that do not, then by rows a second.

    A split comes after what does without it and is as fast: there is less to set up and to go wrong.
    """
    best = max((one.rows_per_second for one in alternatives if one.fits), default=0.0)

    def place(one: Alternative) -> tuple[bool, bool, bool, float]:
        even = one.rows_per_second * EVEN > best
        return not one.fits, not even, even and "stages" in one.name, -one.rows_per_second

    return tuple(sorted(alternatives, key=place))


def make_verdict(
    split: Alternative,
    others: Sequence[Alternative],
    *,
    stages: int,
    stage_bytes: float,
    whole_bytes: float,
    here: bool = True,
) -> str:
    """A sentence or two on what to do.

    Args:
        split: the plan; with one stage, replicas of the whole model.
        others: ways to use the same workers without splitting.
        stages: of the plan.
        stage_bytes: memory that a worker needs for its stage, at most.
        whole_bytes: memory that a worker needs for the whole model.
        here: whether the workers are this machine's.
    """
    able = [one for one in others if one.fits]
    place = "here" if here else "on these workers"
    if not split.fits:
        return (
            f"{_name(split)} needs {format_bytes(stage_bytes)} in a worker, which none of them has: "
            "use more stages, smaller micro-batches or larger workers."
        )
    if not able:
        if stages == 1:
            return f"{_name(split)}, {_rate(split)}, is the only way that fits."
        return (
            f"No worker holds the whole model ({format_bytes(whole_bytes)}): splitting is what makes it possible, "
            f"with {format_bytes(stage_bytes)} in a worker and {_rate(split)}."
        )
    best = max(able, key=lambda one: one.rows_per_second)
    if stages == 1:
        return (
            f"No split is faster {place} than {best.name} ({_rate(best)}); "
            f"split only if a worker has less than {format_bytes(whole_bytes)}."
        )
    ratio = best.rows_per_second / split.rows_per_second if split.rows_per_second else float("inf")
    # What differs by less than measurements of one thing do is no difference.
    even = max(EVEN, 1 + best.spread + split.spread)
    if ratio >= even:
        return (
            f"{_name(best)} {_is(best)} {ratio:.2g}x faster {place} than {split.name}{_how(best, split)}; "
            f"split only if a worker has less than {format_bytes(whole_bytes)}."
        )
    if ratio > 1 / even:
        return (
            f"{_name(split)} and {best.name} are about as fast {place}{_how(best, split)}: split if a worker has "
            f"less than {format_bytes(whole_bytes)} (a stage needs {format_bytes(stage_bytes)}), else do not."
        )
    return (
        f"Split: {split.name} are {1 / ratio:.2g}x faster {place} than {best.name}{_how(best, split)}, "
        f"and a worker holds {format_bytes(stage_bytes)} in place of {format_bytes(whole_bytes)}."
    )


def revised_verdict(plan: Plan, rate: float) -> str:
    """What to do after a run of the plan.

    Args:
        plan: that was run.
        rate: rows a second of the whole job, its start, reading and writing included; above 0.
    """
    predicted = plan.rows_per_second
    said = f"Run, {plan.name} gave {format_rate(rate)} rows/s"
    if predicted:
        said += f" where {format_rate(predicted)} were predicted of the model alone ({rate / predicted - 1:+.0%})"
    best = max((one for one in plan.others if one.fits), key=lambda one: one.rows_per_second, default=None)
    if best is None:
        return f"{said}; no other way fits the workers."
    other = f"{best.name} ({_rate(best)}, the model alone)"
    if rate > best.rows_per_second * EVEN:
        return f"{said}: more than {other}, so split."
    # What the run spent beside the model would be spent by the other way too.
    if predicted and rate > 0.75 * predicted and predicted > best.rows_per_second * EVEN:
        return f"{said}: near enough for the choice between it and {other} to stand."
    if predicted * EVEN > best.rows_per_second:
        return (
            f"{said}: too little for it to be called faster than {other}; run score without --plan, with --summary, to "
            "compare whole jobs."
        )
    return f"{said}: do not split, {other} {_is(best)} faster, unless a worker cannot hold the whole model."


def _name(one: Alternative) -> str:
    return one.name[:1].upper() + one.name[1:]


def _is(one: Alternative) -> str:
    # "1 replica of the whole model", "the whole model with 2 threads": one thing.
    return "is" if one.name.startswith(("1 ", "the ")) else "are"


def _rate(one: Alternative) -> str:
    return f"{format_rate(one.rows_per_second)} rows/s {'measured' if one.measured else 'predicted'}"


def _how(one: Alternative, other: Alternative) -> str:
    if one.measured and other.measured:
        return " (both measured)"
    return "" if one.measured or other.measured else " (predicted)"
