"""What the stages of a split did while a job ran, beside what was planned, and the plan that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from beamsplit.models.split.plan import Plan
from beamsplit.models.split.worker import share_workers


@dataclass(frozen=True)
class MeasuredStage:
    """One stage, all its workers together. Seconds are wall time."""

    stage: int
    runs: int
    """Micro-batches."""

    busy_seconds: float
    """Time in which the stage ran."""

    offered_seconds: float
    """Time in which its workers were there for it."""

    queue_seconds: float = 0.0
    """Micro-batches waiting before it, times how long they waited; 0 where that cannot be seen."""

    @property
    def seconds(self) -> float:
        """Per micro-batch."""
        return self.busy_seconds / self.runs if self.runs else 0.0

    @property
    def busy_share(self) -> float:
        """Share of its workers' time."""
        return min(1.0, self.busy_seconds / self.offered_seconds) if self.offered_seconds else 0.0


@dataclass(frozen=True)
class MeasuredStages:
    """All stages of one job."""

    stages: tuple[MeasuredStage, ...]
    active_seconds: float = 0.0
    """Wall time in which any micro-batch was in flight, added up over processes; 0 where that cannot be seen."""

    rows: int = 0
    """Rows that came through all stages; 0 where that is not known."""

    @property
    def bubble_share(self) -> float:
        """Share of the workers' time in which they waited for one another."""
        offered = sum(stage.offered_seconds for stage in self.stages)
        return max(0.0, 1 - sum(stage.busy_seconds for stage in self.stages) / offered) if offered else 0.0

    def fill(self, micro_batch: int) -> float:
        """Rows of a micro-batch on average, as a share of those that were planned; 1 where that is not known.

        The last micro-batch of a block, or of a group of rows of one shape, has fewer.
        """
        runs = self.stages[-1].runs
        return self.rows / runs / micro_batch if self.rows and runs else 1.0

    def queue_depth(self, stage: int) -> float:
        """Micro-batches that waited before a stage, on average."""
        return self.stages[stage].queue_seconds / self.active_seconds if self.active_seconds else 0.0


def measured_in(counters: Mapping[str, int], stages: int, rows: int = 0) -> MeasuredStages:
    """What a job's counters tell of its stages (`stage_0_busy_usec`, ...), through which so many rows came."""

    def seconds(name: str) -> float:
        return counters.get(name, 0) / 1e6

    return MeasuredStages(
        tuple(
            MeasuredStage(
                at,
                counters.get(f"stage_{at}_runs", 0),
                seconds(f"stage_{at}_busy_usec"),
                seconds(f"stage_{at}_offered_usec"),
                seconds(f"stage_{at}_queue_usec"),
            )
            for at in range(stages)
        ),
        seconds("stages_active_usec"),
        rows,
    )


def full_seconds(plan: Plan, seen: MeasuredStages) -> list[float]:
    """Seconds that each stage would take for a micro-batch of as many rows as planned."""
    return [stage.seconds / seen.fill(plan.micro_batch) for stage in seen.stages]


def better_plan(plan: Plan, seen: MeasuredStages, workers: Sequence[int] | None = None) -> Plan:
    """The plan with measured seconds, and as many workers as before where they do most; cuts stay where they are.

    Its lower bound is all seconds over all workers, which no contiguous stages can beat.

    Args:
        plan: what was run.
        seen: how it ran; every stage must have run.
        workers: that each stage had; None for the plan's replicas.
    """
    seconds = full_seconds(plan, seen)
    total = sum(workers if workers is not None else [stage.replicas for stage in plan.stages])
    replicas = share_workers(seconds, total)
    stages = tuple(
        replace(
            stage, seconds=measured, speed=1.0, replicas=count, workers=stage.workers if count == stage.replicas else ()
        )
        for stage, measured, count in zip(plan.stages, seconds, replicas, strict=True)
    )
    period = max(s / r for s, r in zip(seconds, replicas, strict=True))
    return replace(
        plan,
        stages=stages,
        period=period,
        lower_bound=sum(seconds) / total,
        method="workers shared out anew by seconds measured while running; same cuts",
        source="measured",
    )


def as_data(plan: Plan, seen: MeasuredStages, workers: Sequence[int]) -> dict[str, Any]:
    """The same for a summary in JSON; what was planned is for as many rows as a micro-batch had."""
    fill = seen.fill(plan.micro_batch)
    return {
        "stages": [
            asdict(stage)
            | {"seconds": stage.seconds, "planned_seconds": planned.worker_seconds * fill, "workers": count}
            | {"busy_share": stage.busy_share, "queue_depth": seen.queue_depth(stage.stage)}
            for stage, planned, count in zip(seen.stages, plan.stages, workers, strict=True)
        ],
        "bubble_share": seen.bubble_share,
        "active_seconds": seen.active_seconds,
        "rows_per_micro_batch": fill * plan.micro_batch,
        "planned_period": plan.period * fill,
    }
