"""What is to be balanced, in numbers: units of work, the bytes between them, and the workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHAIN, DIRECT = "chain", "direct"
"""How a value reaches a later stage: through every stage between, or from its producer to each stage that reads it."""

LINKS = (CHAIN, DIRECT)


@dataclass(frozen=True)
class Value:
    """Bytes that one unit (or the model's input) hands to later units."""

    nbytes: float
    """Bytes per micro-batch, finite, at least 0."""

    producer: int
    """The unit that makes it; -1: an input of the model, which arrives at the first stage."""

    consumers: tuple[int, ...] = ()
    """Units that read it, each after the producer. Without any, and no output, the value never leaves its stage."""

    is_output: bool = False
    """An output of the model: it also leaves the last stage."""

    may_cross: bool = True
    """False: no cut between two stages may part the producer from a consumer (sequences, optional values).

    An input that may not cross is read by the first stage only, an output that may not is made by the last.
    """


@dataclass(frozen=True)
class Weight:
    """A constant that every stage with one of its users holds: used in two stages, it is counted in both."""

    nbytes: float
    """Bytes, finite, at least 0."""

    users: tuple[int, ...]
    """Units that read it."""


@dataclass(frozen=True)
class Worker:
    """One worker that may run a stage, alone or as one of its replicas."""

    speed: float = 1.0
    """Relative to where the seconds were measured: 2.0 needs half of them. Above 0."""

    memory_bytes: float = math.inf
    """Bytes for the weights of its stage and the largest activations of one unit."""

    bandwidth: float = math.inf
    """Bytes per second between this worker and others. Infinite: same process, bytes cost nothing."""


@dataclass(frozen=True)
class Problem:
    """A graph of units to be cut into stages, one after the other.

    Raises:
        ValueError: an index out of range, a consumer not after its producer, a negative or non-finite number.
    """

    seconds: tuple[float, ...]
    """Seconds per micro-batch of each unit at speed 1.0, in topological order."""

    values: tuple[Value, ...] = ()
    """Every value between units, into the model and out of it. They are the edges of the graph."""

    weights: tuple[Weight, ...] = ()
    """Every distinct weight."""

    activation_bytes: tuple[float, ...] = ()
    """Bytes that each unit holds while it runs, per micro-batch; empty: 0 each."""

    links: str = CHAIN
    """`chain`, or `direct`: one of `LINKS`."""

    def __post_init__(self) -> None:
        units = len(self.seconds)
        if not units:
            raise ValueError("a problem needs at least one unit; seconds is empty")
        if self.activation_bytes and len(self.activation_bytes) != units:
            raise ValueError(f"activation_bytes has {len(self.activation_bytes)} entries for {units} units")
        if self.links not in LINKS:
            raise ValueError(f"links must be one of {', '.join(LINKS)}, got [{self.links}]")
        _check_numbers("seconds", self.seconds)
        _check_numbers("activation_bytes", self.activation_bytes)
        _check_numbers("a value's nbytes", (value.nbytes for value in self.values))
        _check_numbers("a weight's nbytes", (weight.nbytes for weight in self.weights))
        for at, value in enumerate(self.values):
            if not -1 <= value.producer < units:
                raise ValueError(f"value {at} has producer [{value.producer}], wanted -1 to {units - 1}")
            for user in value.consumers:
                if not value.producer < user < units:
                    raise ValueError(
                        f"value {at} of unit [{value.producer}] has consumer [{user}], wanted a later one of {units}"
                    )
        for at, weight in enumerate(self.weights):
            if any(not 0 <= user < units for user in weight.users):
                raise ValueError(f"weight {at} has users {list(weight.users)}, wanted 0 to {units - 1}")

    @cached_property
    def work(self) -> Floats:
        """Seconds of each unit as an array."""
        return np.array(self.seconds, dtype=np.float64)

    @cached_property
    def activations(self) -> Floats:
        """Activation bytes of each unit as an array."""
        return np.array(self.activation_bytes or [0.0] * len(self.seconds), dtype=np.float64)

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """Units whose values each unit reads, ascending."""
        found: list[set[int]] = [set() for _ in self.seconds]
        for value in self.values:
            if value.producer >= 0:
                for user in value.consumers:
                    found[user].add(value.producer)
        return tuple(tuple(sorted(units)) for units in found)

    @cached_property
    def after(self) -> tuple[tuple[int, ...], ...]:
        """Units that read each unit's values, ascending."""
        found: list[list[int]] = [[] for _ in self.seconds]
        for unit, units in enumerate(self.before):
            for earlier in units:
                found[earlier].append(unit)
        return tuple(tuple(units) for units in found)

    @cached_property
    def made(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the values that each unit produces and that somebody reads."""
        found: list[list[int]] = [[] for _ in self.seconds]
        for at, value in enumerate(self.values):
            if value.producer >= 0 and (value.consumers or value.is_output):
                found[value.producer].append(at)
        return tuple(tuple(values) for values in found)

    @cached_property
    def read(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the values that each unit consumes."""
        found: list[list[int]] = [[] for _ in self.seconds]
        for at, value in enumerate(self.values):
            for user in sorted(set(value.consumers)):
                found[user].append(at)
        return tuple(tuple(values) for values in found)

    @cached_property
    def weights_of(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the weights that each unit uses."""
        found: list[list[int]] = [[] for _ in self.seconds]
        for at, weight in enumerate(self.weights):
            for user in sorted(set(weight.users)):
                found[user].append(at)
        return tuple(tuple(weights) for weights in found)

    @cached_property
    def _readers(self) -> tuple[Ints, Ints, Ints, Bools, Bools, Floats]:
        kept = [value for value in self.values if value.consumers or value.is_output]
        readers = [value.consumers or (value.producer,) for value in kept]
        starts = np.cumsum([0, *(len(units) for units in readers)])[:-1]
        return (
            np.array([unit for units in readers for unit in units], dtype=np.int64),
            np.array(starts, dtype=np.int64),
            np.array([value.producer for value in kept], dtype=np.int64),
            np.array([value.is_output for value in kept], dtype=np.bool_),
            np.array([value.may_cross for value in kept], dtype=np.bool_),
            np.array([value.nbytes for value in kept], dtype=np.float64),
        )

    def traffic(self, stage_of: Ints, stages: int) -> tuple[Floats, Floats, Bools]:
        """Bytes into and out of each stage, and whether a cut is allowed at each boundary.

        With direct links a value leaves its producer's stage once, and enters each other stage that reads it once; an
        input enters each stage that reads it, an output leaves the stage that makes it.

        Args:
            stage_of: the stage of each unit.
            stages: number of stages.

        Returns:
            Bytes in [stages], bytes out [stages], allowed [stages + 1] as in `crossing`.
        """
        crossing, allowed = self.crossing(stage_of, stages)
        if self.links == CHAIN:
            return crossing[:-1], crossing[1:], allowed
        into, out = np.zeros(stages), np.zeros(stages)
        for value in self.values:
            home = -1 if value.producer < 0 else int(stage_of[value.producer])
            readers = {int(stage_of[user]) for user in value.consumers} - {home}
            for stage in readers:
                into[stage] += value.nbytes
            if home >= 0 and (readers or value.is_output):
                out[home] += value.nbytes
        return into, out, allowed

    def crossing(self, place: Ints, places: int) -> tuple[Floats, Bools]:
        """Bytes over each boundary, and whether a cut is allowed there.

        Args:
            place: for each unit, its place: a position in an order, or a stage.
            places: number of places. Boundary b lies before place b: 0 is where inputs arrive, `places` where
                outputs leave.

        Returns:
            Bytes [places + 1] and allowed [places + 1]. A value crosses each boundary between its producer and its
            last consumer, whether or not the places between read it. Boundaries 0 and `places` are no cuts.
        """
        readers, starts, producer, is_output, may_cross, nbytes = self._readers
        total = np.zeros(places + 2)
        parted = np.zeros(places + 2, dtype=np.int64)
        if len(producer):
            first = np.where(producer >= 0, place[producer] + 1, 0)
            last = np.maximum.reduceat(place[readers] if len(readers) else first, starts)
            last = np.where(is_output, places, last)
            crosses = first <= last
            np.add.at(total, first[crosses], nbytes[crosses])
            np.subtract.at(total, last[crosses] + 1, nbytes[crosses])
            ties = crosses & ~may_cross
            np.add.at(parted, first[ties], 1)
            np.subtract.at(parted, last[ties] + 1, 1)
        allowed = np.cumsum(parted)[: places + 1] == 0
        allowed[0] = allowed[places] = True
        # What is left of a sum of fractions that cancel is noise, maybe below zero.
        return np.maximum(np.cumsum(total)[: places + 1], 0.0), allowed


@dataclass(frozen=True)
class Balance:
    """Units dealt to stages, stages to workers, and what that costs."""

    stage_of: tuple[int, ...]
    """The stage of each unit, from 0. No unit reads from a later stage."""

    workers_of: tuple[tuple[int, ...], ...]
    """The workers of each stage, as indices into the workers given; several are replicas of one stage."""

    period: float
    """Seconds per micro-batch of the busiest stage: the pipeline hands one out each period."""

    lower_bound: float
    """Seconds; proven: no split over these workers (as asked for) has a shorter period. At most `period`."""

    stage_seconds: tuple[float, ...]
    """Seconds per micro-batch of each stage, compute and transfer, shared over its replicas."""

    stage_compute: tuple[float, ...]
    """The part of stage_seconds that is compute."""

    stage_memory: tuple[float, ...]
    """Bytes that each worker of the stage holds: distinct weights and the largest activations of one unit."""

    bytes_in: tuple[float, ...]
    """Bytes per micro-batch that enter each stage; through a chain, what only passes is counted in and out."""

    bytes_out: tuple[float, ...]
    """Bytes per micro-batch that leave each stage."""

    fits: bool
    """Whether every worker's memory_bytes holds its stage."""

    method: str
    """How it was found: `chain`, `ideals` (both exact), `orders` (best of many orders), or `given`."""

    links: str = CHAIN
    """For which links period and bound are: one of `LINKS`."""

    bound_by: str = "work"
    """What proves the bound: `work` (all work over all workers, the heaviest units), `chain` or `ideals` (every cut was
    compared), `spine` (minimum cuts along a chain of units), `mixed integer` (a relaxation of the whole problem)."""

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.workers_of)

    @property
    def gap(self) -> float:
        """How much longer the period is than the bound, as a share of the bound: 0.02 is 2 %."""
        if self.period <= self.lower_bound:
            return 0.0
        return self.period / self.lower_bound - 1 if self.lower_bound > 0 else math.inf

    @property
    def optimal(self) -> bool:
        """Whether the period is proven least, but for rounding."""
        return self.gap <= 1e-9


class CannotSplit(ValueError):
    """No split as asked for exists (or none was found); the message says which numbers stand against it."""

    def __init__(
        self, message: str, *, most_stages: int | None = None, smallest_memory_bytes: float | None = None
    ) -> None:
        super().__init__(message)
        self.most_stages = most_stages
        """How many stages are possible at most, where that is what stands against it."""
        self.smallest_memory_bytes = smallest_memory_bytes
        """Bytes that each worker would need, where memory stands against it; a split that needs so much is known."""


def check_workers(workers: Sequence[Worker]) -> None:
    """Raise ValueError for a worker that can do nothing."""
    if not workers:
        raise ValueError("at least one worker is wanted, none is given")
    for at, worker in enumerate(workers):
        # `not >` refuses NaN too.
        if not (0 < worker.speed < math.inf) or not worker.memory_bytes >= 0 or not worker.bandwidth > 0:
            raise ValueError(f"worker {at}: speed (finite) and bandwidth must be above 0, memory at least 0: {worker}")


def _check_numbers(name: str, numbers: Iterable[float]) -> None:
    for at, number in enumerate(numbers):
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} must be finite and at least 0, number {at} is {number}")
