"""When each stage runs each micro-batch: the pipeline's timetable, simulated.

Time runs to the right; a digit is the micro-batch that a stage runs, a dot is a bubble:

    stage 0   0 1 2 3 . .
    stage 1   . 0 1 2 3 .
    stage 2   . . 0 1 2 3

Sources: GPipe (Huang et al. 2019, section 2.3) for the bubbles of equal stages, torchgpipe for the drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """One run of a stage."""

    stage: int
    replica: int
    """From 0, among the stage's own."""

    micro_batch: int
    start: float
    """Seconds after the first micro-batch came."""

    end: float


@dataclass(frozen=True)
class Schedule:
    """The timetable of some micro-batches through all stages."""

    slots: tuple[Slot, ...]
    """By micro-batch, then by stage."""

    replicas: tuple[int, ...]
    """Of each stage."""

    @property
    def seconds(self) -> float:
        """Until the last micro-batch has left the last stage."""
        return max((slot.end for slot in self.slots), default=0.0)

    @property
    def bubble_share(self) -> float:
        """Share of all replicas' time in which they do nothing, while the pipeline fills and drains included."""
        offered = self.seconds * sum(self.replicas)
        return 1 - sum(slot.end - slot.start for slot in self.slots) / offered if offered else 0.0

    def lane(self, stage: int, replica: int = 0) -> tuple[Slot, ...]:
        """What one replica runs, in order."""
        return tuple(slot for slot in self.slots if slot.stage == stage and slot.replica == replica)


def simulate(
    seconds: Sequence[float], micro_batches: int, replicas: Sequence[int] | None = None, *, room: int = 2
) -> Schedule:
    """Run micro-batches through the stages, in order, as early as can be.

    A stage hands on what it made once there is room in the queue before the next stage, and takes its next
    micro-batch only then. Each micro-batch goes to the replica that is free first.

    Args:
        seconds: of each stage per micro-batch, on one replica; at least one stage, none below 0.
        micro_batches: how many come, all at the start; at least 1.
        replicas: of each stage, at least 1 each; None is one each.
        room: micro-batches that may wait before a stage; at least 1.

    Raises:
        ValueError: a number out of these ranges.
    """
    counts = tuple(replicas) if replicas is not None else (1,) * len(seconds)
    if not seconds or min(seconds) < 0:
        raise ValueError(f"seconds must name at least one stage, none below 0: {list(seconds)}")
    if len(counts) != len(seconds) or min(counts) < 1:
        raise ValueError(f"replicas must be at least 1 for each of the {len(seconds)} stages: {list(counts)}")
    if micro_batches < 1 or room < 1:
        raise ValueError(f"micro_batches and room must be at least 1: {micro_batches}, {room}")
    last = len(seconds) - 1
    free = [[0.0] * count for count in counts]
    starts: list[list[float]] = [[] for _ in seconds]
    slots = []
    for number in range(micro_batches):
        ready = 0.0
        for stage, cost in enumerate(seconds):
            replica = free[stage].index(min(free[stage]))
            start = max(ready, free[stage][replica])
            ready = start + cost
            slots.append(Slot(stage, replica, number, start, ready))
            starts[stage].append(start)
            if stage < last and number >= room:
                ready = max(ready, starts[stage + 1][number - room])
            free[stage][replica] = ready
    return Schedule(tuple(slots), counts)


def fill_bubbles(stages: int, micro_batches: int) -> float:
    """Share of time that equal stages wait while the pipeline fills and drains: (K - 1) / (M + K - 1).

    E.g. 4 stages and 12 micro-batches: 0.2.
    """
    return (stages - 1) / (micro_batches + stages - 1)
