"""Which workers may run the next stage: states of workers used up, and the teams that lead from one to the next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from beamsplit.models.split.solver.problem import Worker


@dataclass(frozen=True)
class Team:
    """The workers of one stage (one worker, or its replicas)."""

    take: tuple[int, ...]
    """How many workers of each class."""

    speed: float
    """Sum of the workers' speeds."""

    top: float
    """Speed of the fastest worker."""

    memory_bytes: float
    """Bytes of the smallest worker."""

    level: int
    """The slowest worker's bandwidth, as an index into `Staffing.link`."""


@dataclass(frozen=True)
class Move:
    """From a state of workers used, run one stage with a team."""

    start: int
    end: int
    """States; the end is after the start."""

    team: Team


@dataclass(frozen=True)
class Staffing:
    """All ways to give workers to the stages, one after the other.

    Workers that are alike form a class, and only how many of each class are used counts: with c classes of m workers
    there are (m + 1) ** c states instead of 2 ** (c * m). In a fixed order each worker is a class of its own and the
    state is how many workers lie behind.
    """

    classes: tuple[tuple[int, ...], ...]
    """Indices of the workers of each class."""

    states: int
    """States 0 (nothing used) to states - 1; every move leads upwards."""

    moves: tuple[Move, ...]
    """In ascending order of their start."""

    used: tuple[int, ...]
    """Workers used (or left behind) in each state."""

    idle: bool
    """Whether state s leads to s + 1 without a stage: a worker is left out."""

    link: tuple[float, ...]
    """Seconds per byte at each level of bandwidth, the slowest first."""

    counts_stages: bool
    """Whether `used` is the number of stages."""

    @cached_property
    def moves_from(self) -> tuple[tuple[Move, ...], ...]:
        """Moves by the state that they start from."""
        return self._by_state([move.start for move in self.moves])

    @cached_property
    def moves_to(self) -> tuple[tuple[Move, ...], ...]:
        """Moves by the state that they lead to."""
        return self._by_state([move.end for move in self.moves])

    def _by_state(self, states: Sequence[int]) -> tuple[tuple[Move, ...], ...]:
        found: list[list[Move]] = [[] for _ in range(self.states)]
        for move, state in zip(self.moves, states, strict=True):
            found[state].append(move)
        return tuple(map(tuple, found))

    def size(self, stages: int | None) -> int:
        """Rows of positions that one test of a period works through."""
        rows = 1 if stages is None or self.counts_stages else stages
        return len(self.moves) * len(self.link) ** 2 * rows

    def name(self, teams: Sequence[Team]) -> tuple[tuple[int, ...], ...]:
        """The workers of each team in turn: the first ones of each class that are still free."""
        return named(self.classes, teams)


def named(classes: Sequence[Sequence[int]], teams: Sequence[Team]) -> tuple[tuple[int, ...], ...]:
    """The workers of each team in turn: the first ones of each class that are still free."""
    free = [iter(members) for members in classes]

    def members(team: Team) -> Iterator[int]:
        return (at for one, count in zip(free, team.take, strict=True) for at in itertools.islice(one, count))

    return tuple(tuple(sorted(members(team))) for team in teams)


def any_order(workers: Sequence[Worker], replicate: bool, most_moves: int) -> Staffing | None:
    """Workers in whichever order is best. None where that takes more than `most_moves` moves."""
    kinds: dict[tuple[float, float, float], list[int]] = {}
    for at, worker in enumerate(workers):
        kinds.setdefault((worker.speed, worker.memory_bytes, worker.bandwidth), []).append(at)
    counts = [len(members) for members in kinds.values()]
    if replicate:
        total = math.prod((count + 1) * (count + 2) // 2 for count in counts)
    else:
        total = math.prod(count + 1 for count in counts) * len(counts)
    if total > most_moves:
        return None
    vectors = list(itertools.product(*(range(count + 1) for count in counts)))
    # By workers used, then by vector: every move leads upwards.
    vectors.sort(key=lambda vector: (sum(vector), vector))
    number = {vector: at for at, vector in enumerate(vectors)}
    levels = _levels(workers)
    samples = [workers[members[0]] for members in kinds.values()]
    takes = [vector for vector in vectors if sum(vector) == 1 or (replicate and sum(vector) > 1)]
    teams = [_team(take, samples, levels) for take in takes]
    moves = []
    for vector in vectors:
        for team in teams:
            end = tuple(a + b for a, b in zip(vector, team.take, strict=True))
            if end in number:
                moves.append(Move(number[vector], number[end], team))
    return Staffing(
        classes=tuple(tuple(members) for members in kinds.values()),
        states=len(vectors),
        moves=tuple(moves),
        used=tuple(sum(vector) for vector in vectors),
        idle=False,
        link=link_of(levels),
        counts_stages=not replicate,
    )


def in_order(workers: Sequence[Worker], order: Sequence[int], replicate: bool, stages: int | None) -> Staffing:
    """Workers in one order: a later stage never runs on an earlier worker. Workers may be left out."""
    levels = _levels(workers)
    ordered = [workers[at] for at in order]
    idle = replicate or stages != len(workers)
    moves = []
    for start in range(len(ordered)):
        for end in range(start + 1, len(ordered) + 1 if replicate else start + 2):
            take = tuple(1 if start <= at < end else 0 for at in range(len(ordered)))
            moves.append(Move(start, end, _team(take, ordered, levels)))
    return Staffing(
        classes=tuple((at,) for at in order),
        states=len(ordered) + 1,
        moves=tuple(moves),
        used=tuple(range(len(ordered) + 1)),
        idle=idle,
        link=link_of(levels),
        counts_stages=not idle,
    )


def _team(take: tuple[int, ...], samples: Sequence[Worker], levels: Sequence[float]) -> Team:
    members = [(sample, count) for sample, count in zip(samples, take, strict=True) if count]
    return Team(
        take=take,
        speed=math.fsum(sample.speed * count for sample, count in members),
        top=max(sample.speed for sample, _ in members),
        memory_bytes=min(sample.memory_bytes for sample, _ in members),
        level=min(levels.index(sample.bandwidth) for sample, _ in members),
    )


def _levels(workers: Sequence[Worker]) -> list[float]:
    return sorted({worker.bandwidth for worker in workers})


def link_of(levels: Sequence[float]) -> tuple[float, ...]:
    """Seconds per byte at each bandwidth."""
    return tuple(1.0 / bandwidth for bandwidth in levels)
