"""Every way to run a model on some workers that is considered, with its rows a second and memory as predicted.

pods x (stages x shards x replicas of each stage)

    pod 0   [stage 0: team a | team b] -> [stage 1: team c]      a team holds the shards of one stage
    pod 1   [stage 0: team d | team e] -> [stage 1: team f]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.split.balance import Balance, CannotSplit, Problem, balance
from beamsplit.models.split.problem import solver_workers
from beamsplit.models.split.solver.problem import DIRECT
from beamsplit.models.strategy.cost import ReplicaTeam, Stage, pod_period
from beamsplit.models.strategy.teams import INLINE, Links, alike, teams_of
from beamsplit.models.strategy.width import Width

FEW_STAGES = 8
"""Stages of a pod up to which every number is tried."""

MANY_STAGES = (10, 12, 16, 20, 24, 32, 48, 64)
"""Tried where fewer do not fit."""

MOST_TEAMS = 8
"""Teams that one pod is balanced over with replicas; more of them make several equal pods."""


@dataclass(frozen=True)
class Pod:
    """Equal pipelines beside one another, each with all of the model."""

    count: int
    stages: tuple[Stage, ...]

    @property
    def replicas(self) -> tuple[int, ...]:
        """Teams of each stage."""
        return tuple(len(stage.teams) for stage in self.stages)

    @property
    def worker_bytes(self) -> tuple[float, ...]:
        """Weights and activations that a worker of each stage holds, at most."""
        return tuple(stage.worker_bytes for stage in self.stages)

    @property
    def period(self) -> float:
        """Seconds between two micro-batches of one pod."""
        return pod_period(self.stages)


@dataclass(frozen=True)
class Candidate:
    """One way to use the workers."""

    stages: int
    shards: int
    pods: tuple[Pod, ...]
    """One kind of pod for each kind of worker; none where nothing fits."""

    rows_per_second: float
    """Predicted; 0 where it does not fit."""

    worker_bytes: float
    """Weights and activations that the fullest worker holds."""

    workers: int
    """Those that have something to do."""

    needs_bytes: float = 0.0
    """Memory that each worker would need, where it does not fit."""

    measured: float | None = None
    """Rows a second on this machine, where it was run."""

    @property
    def fits(self) -> bool:
        """Whether the workers' memory holds it."""
        return bool(self.pods)

    @property
    def kind(self) -> str:
        """`replicas`, `stages`, `shards` or `stages x shards`."""
        if self.stages == self.shards == 1:
            return "replicas"
        return " x ".join(name for name, count in (("stages", self.stages), ("shards", self.shards)) if count > 1)

    @property
    def name(self) -> str:
        """E.g. `4 pods of 2 stages x 2 shards`."""
        copies = sum(pod.count * min(pod.replicas) for pod in self.pods) if self.stages == 1 else self._pods
        if self.kind == "replicas":
            return f"{copies} {'replica' if copies == 1 else 'replicas'} of the whole model" if copies else "replicas"
        parts = [f"{count} {word}" for word, count in (("stages", self.stages), ("shards", self.shards)) if count > 1]
        inner = " x ".join(parts)
        named = inner if copies <= 1 else f"{copies} pods of {inner}"
        extra = [pod.replicas for pod in self.pods if self.stages > 1 and max(pod.replicas) > 1]
        return named + "".join(f" ({', '.join(map(str, one))} teams a stage)" for one in extra[:1])

    @property
    def _pods(self) -> int:
        return sum(pod.count for pod in self.pods)


def candidates(
    widths: Sequence[Width],
    workers: Sequence[ClusterWorker],
    rows: int,
    most_stages: int,
    links: Links = INLINE,
) -> list[Candidate]:
    """All of them, in the order: fewer shards before more, fewer stages before more.

    Args:
        widths: the model whole and over each number of shards.
        workers: to use.
        rows: in a micro-batch.
        most_stages: into which the graph can be cut.
        links: how the workers of a team meet.
    """
    return [one for width in widths for one in _of_width(width, workers, rows, most_stages, links)]


def _of_width(
    width: Width, workers: Sequence[ClusterWorker], rows: int, most: int, links: Links
) -> Iterator[Candidate]:
    teams = teams_of(workers, width.shards)
    if not teams:
        return
    problem = replace(width.problem(min(one.bandwidth for one in teams), links), links=teams[0].links)
    most = min(len(teams), most)
    fits = False
    for stages in (*range(1, min(most, FEW_STAGES) + 1), *MANY_STAGES):
        if stages <= most and not (fits and stages > FEW_STAGES):
            found = _candidate(width, problem, teams, stages, rows, links)
            fits = fits or found.fits
            yield found


def _candidate(
    width: Width, problem: Problem, teams: Sequence[ClusterWorker], stages: int, rows: int, links: Links
) -> Candidate:
    needs = math.inf
    found: list[tuple[Pod, ...]] = []
    tries: list[list[tuple[Sequence[ClusterWorker], int]]] = [
        [(group, stages) for group in alike(teams) if len(group) >= stages]
    ]
    if stages > 1 and len(teams) <= MOST_TEAMS and len(teams) > stages:
        tries.append([(teams, len(teams))])
    elif stages > 1 and len(teams) == stages and len(alike(teams)) > 1:
        tries.append([(teams, stages)])
    for groups in tries:
        pods = []
        for group, size in groups:
            try:
                pods.append(_pod(width, problem, group, size, stages, links))
            except CannotSplit as error:
                if error.smallest_memory_bytes is not None:
                    needs = min(needs, error.smallest_memory_bytes)
        if pods:
            found.append(tuple(pods))
    if not found:
        return Candidate(stages, width.shards, (), 0.0, 0.0, 0, needs if math.isfinite(needs) else 0.0)
    best = max(found, key=lambda pods: _rate(pods, rows))
    used = sum(pod.count * sum(pod.replicas) for pod in best) * width.shards
    return Candidate(stages, width.shards, best, _rate(best, rows), max(max(pod.worker_bytes) for pod in best), used)


def _rate(pods: Sequence[Pod], rows: int) -> float:
    return sum(pod.count * rows / max(pod.period, 1e-12) for pod in pods)


def _pod(
    width: Width,
    problem: Problem,
    group: Sequence[ClusterWorker],
    size: int,
    stages: int,
    links: Links,
) -> Pod:
    """The best pod of `size` of these workers, who replicate stages where they are more, and how many there can be."""
    found = balance(problem, solver_workers(group[:size]), stages, replicate=size > stages)
    if not found.fits:
        raise CannotSplit("too little memory", smallest_memory_bytes=max(found.stage_memory))
    made = (_stage(width, found, index, group, links) for index in range(found.stages))
    return Pod(len(group) // size, tuple(made))


def _stage(width: Width, found: Balance, index: int, group: Sequence[ClusterWorker], links: Links) -> Stage:
    parts = width.unit_parts
    units = [unit for unit, stage in enumerate(found.stage_of) if stage == index]
    teams = (ReplicaTeam(group[at].speed, _limit(group[at].bandwidth)) for at in found.workers_of[index])

    def total(of_units: Sequence[float]) -> float:
        return math.fsum(of_units[unit] for unit in units)

    return Stage(
        tuple(teams),
        total(parts.whole) / links.speedup(width.shards),
        total(parts.share),
        width.shards,
        bytes_in=found.bytes_in[index],
        bytes_out=found.bytes_out[index],
        # The joiner's link has those of all other shards.
        gather_bytes=total(parts.exchange_bytes) / max(width.shards - 1, 1),
        exchanges=round(total(parts.exchanges)),
        exchange_seconds=links.exchange_seconds,
        hand_over_seconds=links.hand_over_seconds,
        in_flight=links.in_flight,
        direct=found.links == DIRECT,
        whole_bytes=found.stage_memory[index],
    )


def _limit(bandwidth: float) -> float | None:
    return None if math.isinf(bandwidth) else bandwidth
