"""One stage at work: a bounded queue before it, and what is counted of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class InlineStage:
    """A stage as the pipeline runs it."""

    run: Callable[[dict[str, Array]], list[Array]]
    """`Session.run` of its session, or what stands in for it; called from several threads at once."""

    inputs: tuple[str, ...]
    """Tensors that it reads."""

    outputs: tuple[str, ...]
    """Tensors that it makes, in the order of what `run` gives."""

    workers: int = 1
    """Threads that run it side by side, each on a micro-batch of its own."""

    seconds: float = 0.0
    """Predicted seconds a micro-batch; 0 where nothing was predicted."""


class StageError(RuntimeError):
    """A micro-batch failed in a stage; the message names the stage, the cause is the error itself."""

    def __init__(self, stage: int, error: BaseException) -> None:
        super().__init__(f"stage {stage}: {error}")
        self.stage = stage
        """From 0."""
        self.error = error
        """What the stage raised."""


@dataclass(eq=False)
class MicroBatch:
    """What flows: the tensors of some rows that are still needed."""

    values: dict[str, Array]
    cancelled: Callable[[], bool]
    """Whether nobody waits for it any more."""

    entered: float
    """When it was given to the pipeline, in seconds of the pipeline's clock."""

    of: tuple[Any, Any] = (None, None)
    """Block and run of `run_limit.context`, for the threads of the stages."""

    left: float = 0.0
    """When its last stage, or the one that failed, was through with it."""

    error: StageError | None = None
    done: bool = False


@dataclass(frozen=True)
class StageStats:
    """What one stage did over some time. All seconds are wall time."""

    busy_seconds: float = 0.0
    """Time in `run`, added up over its workers."""

    offered_seconds: float = 0.0
    """Time that its workers were there while any micro-batch was in flight, added up over them."""

    queue_seconds: float = 0.0
    """Micro-batches waiting before it, times how long they waited."""

    runs: int = 0
    """Micro-batches that it ran."""

    def __sub__(self, other: StageStats) -> StageStats:
        return StageStats(
            self.busy_seconds - other.busy_seconds,
            self.offered_seconds - other.offered_seconds,
            self.queue_seconds - other.queue_seconds,
            self.runs - other.runs,
        )


@dataclass(frozen=True)
class PipelineStats:
    """What a pipeline did over some time."""

    stages: tuple[StageStats, ...]

    active_seconds: float = 0.0
    """Wall time during which any micro-batch was in flight."""

    def __sub__(self, other: PipelineStats) -> PipelineStats:
        stages = tuple(mine - theirs for mine, theirs in zip(self.stages, other.stages, strict=True))
        return PipelineStats(stages, self.active_seconds - other.active_seconds)

    @property
    def counts(self) -> dict[str, int]:
        """As counters of a job."""
        told = {"stages_active_usec": self.active_seconds * 1e6}
        for stage, one in enumerate(self.stages):
            told[f"stage_{stage}_busy_usec"] = one.busy_seconds * 1e6
            told[f"stage_{stage}_offered_usec"] = one.offered_seconds * 1e6
            told[f"stage_{stage}_queue_usec"] = one.queue_seconds * 1e6
            told[f"stage_{stage}_runs"] = one.runs
        return {name: round(value) for name, value in told.items()}

    @property
    def bubble_share(self) -> float:
        """Share of the workers' time in which they waited for one another; 0 where nothing ran."""
        offered = sum(stage.offered_seconds for stage in self.stages)
        return max(0.0, 1 - sum(stage.busy_seconds for stage in self.stages) / offered) if offered else 0.0

    def busy_share(self, stage: int) -> float:
        """Share of its workers' time in which a stage ran."""
        one = self.stages[stage]
        return one.busy_seconds / one.offered_seconds if one.offered_seconds else 0.0

    def queue_depth(self, stage: int) -> float:
        """Micro-batches that waited before a stage, on average."""
        return self.stages[stage].queue_seconds / self.active_seconds if self.active_seconds else 0.0


@dataclass
class Station:
    """A stage with its queue and counts. Guarded by its pipeline's lock."""

    stage: InlineStage
    room: int
    """Most micro-batches that wait before it."""

    wanted: int
    """Worker threads that there should be."""

    running: int = 0
    """Worker threads that there are."""

    queue: deque[MicroBatch] = field(default_factory=deque)
    busy_seconds: float = 0.0
    offered_seconds: float = 0.0
    queue_seconds: float = 0.0
    runs: int = 0

    def stats(self) -> StageStats:
        """The counts so far."""
        return StageStats(self.busy_seconds, self.offered_seconds, self.queue_seconds, self.runs)


def share_workers(seconds: Sequence[float], total: int) -> list[int]:
    """How many of `total` workers each stage gets, at least one: the busiest share becomes as small as it can.

    Workers go one by one to the stage with the most seconds a worker, which is optimal since the largest of
    `seconds[i] / workers[i]` only falls when that very stage gets one more.

    >>> share_workers([1.0, 3.0], 4)
    [1, 3]
    """
    times = list(seconds)
    shares = [1] * len(times)
    for _ in range(total - len(times)):
        busiest = max(range(len(times)), key=lambda stage: times[stage] / shares[stage])
        shares[busiest] += 1
    return shares
