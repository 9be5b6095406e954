"""What a run of a plan measured, read from the summary that `score --summary` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import repr
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.plain import parse_json
from beamsplit.models.plan_limits import MOST_BYTES, MOST_PARTS, MOST_SECONDS
from beamsplit.models.small_file import read_small
from beamsplit.models.split.plan import Plan


@dataclass(frozen=True)
class MeasuredStage:
    """One stage of a job that ran."""

    seconds: float
    """Per micro-batch, on one worker."""

    workers: int
    busy_share: float
    queue_depth: float
    """Micro-batches that waited before it, on average."""

    runs: int
    """Micro-batches."""


@dataclass(frozen=True)
class MeasuredRun:
    """All stages of it."""

    stages: tuple[MeasuredStage, ...]
    bubble_share: float
    rows_per_second: float = 0.0
    """Of the whole job, its start, reading and writing included; 0 where that is not known."""

    @property
    def period(self) -> float:
        """Seconds per micro-batch of the busiest stage."""
        return max(stage.seconds / stage.workers for stage in self.stages)


def read_measured(path: str, plan: Plan, option: str = "--measured") -> MeasuredRun:
    """Read a summary.

    Raises:
        UsageError: it is missing, is no summary of a split job, or is of another number of stages.
    """
    again = "write it with python -m pipelines.score --plan plan.json --summary summary.json"
    try:
        summary = parse_json(read_small(path))
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read ({error.strerror}): {again}") from None
    except ValueError:
        raise UsageError(f"{option} {path} is not JSON: {again}") from None
    split = summary.get("split") if isinstance(summary, dict) else None
    if not isinstance(split, dict) or not split.get("stages"):
        raise UsageError(f"{option} {path} is no summary of a job that ran a split model: {again}")
    try:
        rate = _number(summary, "rows_per_second", MOST_BYTES) if "rows_per_second" in summary else 0.0
        run = MeasuredRun(tuple(_stage(stage) for stage in split["stages"]), _number(split, "bubble_share"), rate)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{option} {path} lacks or has a wrong {error} of a stage: {again}") from None
    if len(run.stages) != len(plan.stages):
        raise UsageError(
            f"{option} {path} is of {len(run.stages)} stages, but the plan has {len(plan.stages)}: "
            "give the plan that was run with --plan plan.json"
        )
    return run


def _stage(values: dict[str, Any]) -> MeasuredStage:
    return MeasuredStage(
        seconds=_number(values, "seconds"),
        workers=max(1, int(_number(values, "workers", MOST_PARTS))),
        busy_share=_number(values, "busy_share"),
        queue_depth=_number(values, "queue_depth"),
        runs=int(_number(values, "runs", MOST_BYTES)),
    )


def _number(values: dict[str, Any], name: str, most: float = MOST_SECONDS) -> float:
    """Raises KeyError, TypeError or ValueError where there is no such number."""
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{name}, which is {repr(value)},")
    return float(value)
