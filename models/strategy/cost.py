"""What a stage's workers do for a micro-batch, in closed form: seconds in, seconds out; imports nothing of ours.

A team runs one replica of a stage: one worker, or with shards a leader and one worker a shard. The leader takes what
enters the stage, runs the steps that stay whole, sends to the shards and joins; shard 0 runs beside it unless it is
`apart`. A worker is busy while it computes and while it sends or receives:

    leader   in | whole | -> shards | (own shard) | joins | out
    shard                 | scatter, its share, gather |

    period of a stage = 1 / (sum over its teams of 1 / the team's period), of a chain = that of its slowest stage

Sources: stages and links as Archer et al. 2023 (arXiv 2311.03703, section 2) and PipeEdge (Hu et al. 2022); shards'
exchanges as Shoeybi et al. 2019 (Megatron-LM, arXiv 1909.08053, section 3), with a gather in place of an all-reduce.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ReplicaTeam:
    """The workers of one replica of a stage."""

    speed: float = 1.0
    """Of the slowest, relative to where the seconds are from; above 0."""

    bandwidth: float | None = None
    """Bytes a second of the slowest link; None where there is no link to wait for."""

    @property
    def link(self) -> float:
        """Bytes a second, infinite where nothing limits them."""
        return math.inf if self.bandwidth is None else self.bandwidth


@dataclass(frozen=True)
class Stage:
    """One stage and the teams that run it; seconds at speed 1 and bytes are per micro-batch."""

    teams: tuple[ReplicaTeam, ...]
    """At least one; several are replicas."""

    seconds: float = 0.0
    """Of what is not sharded."""

    shard_seconds: float = 0.0
    """Of the largest shard."""

    shards: int = 1
    """1: not sharded."""

    apart: bool = False
    """Whether the leader has a worker of its own."""

    bytes_in: float = 0.0
    """Over the cut before it, or the model's inputs."""

    bytes_out: float = 0.0
    """Over the cut behind it, or the model's outputs."""

    scatter_bytes: float = 0.0
    """To each shard."""

    gather_bytes: float = 0.0
    """From each shard."""

    exchanges: int = 0
    """How often the shards' results meet."""

    exchange_seconds: float = 0.0
    """Of each meeting beside its bytes, for a shard, and for the leader once for each shard elsewhere."""

    hand_over_seconds: float = 0.0
    """Of each block that comes from the stage before or goes to the one behind, beside its bytes."""

    in_flight: int = 1
    """Micro-batches that a team of shards has at once: 1 where each waits for the last, as in one process."""

    direct: bool = False
    """Whether what enters and leaves goes straight to and from other stages: each end at its own bandwidth."""

    whole_bytes: float = 0.0
    """Weights and workspace of what is not sharded."""

    shard_bytes: float = 0.0
    """Weights and workspace of the largest shard."""

    @property
    def team_size(self) -> int:
        """Workers of a team."""
        return self.shards + self.apart

    @property
    def worker_bytes(self) -> float:
        """Of the fullest worker."""
        return max(self.whole_bytes, self.shard_bytes) if self.apart else self.whole_bytes + self.shard_bytes


@dataclass(frozen=True)
class Busy:
    """Seconds of a team for one micro-batch."""

    enter: float
    """The leader's for what enters the stage."""

    leave: float
    """The leader's for what leaves it."""

    whole: float
    """The leader's for the steps that stay whole."""

    exchange: float
    """The leader's for sending to the shards and joining, all meetings together."""

    share: float
    """A shard's on a worker of its own, its part of the exchange included; 0 without shards."""

    own: float
    """The leader's for the shard that it runs itself; 0 where it runs none."""

    @property
    def leader(self) -> float:
        """All that the leader does."""
        return self.enter + self.whole + self.exchange + self.leave + self.own

    @property
    def latency(self) -> float:
        """From entering to leaving."""
        return self.enter + self.whole + self.exchange + self.share + self.leave


def busy(stages: Sequence[Stage], at: int, team: ReplicaTeam) -> Busy:
    """What a team of stage `at` does for one micro-batch; a link is as slow as the slower end's slowest replica."""
    stage = stages[at]
    first, last = at == 0 or stage.direct, at + 1 == len(stages) or stage.direct
    before = math.inf if first else min((one.link for one in stages[at - 1].teams), default=math.inf)
    behind = math.inf if last else min((one.link for one in stages[at + 1].teams), default=math.inf)
    exchange = (stage.scatter_bytes + stage.gather_bytes) / team.link + stage.exchanges * stage.exchange_seconds
    compute = stage.shard_seconds / team.speed
    sharded = stage.shards > 1
    return Busy(
        enter=stage.bytes_in / min(team.link, before) + (stage.hand_over_seconds if at else 0.0),
        leave=stage.bytes_out / min(team.link, behind) + (stage.hand_over_seconds if at + 1 < len(stages) else 0.0),
        whole=stage.seconds / team.speed,
        exchange=(stage.shards - (not stage.apart)) * exchange if sharded else 0.0,
        share=compute + exchange if sharded else 0.0,
        own=compute if sharded and not stage.apart else 0.0,
    )


def team_period(stage: Stage, one: Busy) -> float:
    """Seconds a micro-batch of a team that always has enough to do."""
    if stage.shards == 1 or stage.in_flight == 1:
        return one.latency
    return max(one.leader, one.share, one.latency / stage.in_flight)


def stage_period(stages: Sequence[Stage], at: int) -> float:
    """Seconds a micro-batch of all teams of a stage together; each takes the next as soon as it is free."""
    periods = [team_period(stages[at], busy(stages, at, team)) for team in stages[at].teams]
    if min(periods) <= 0:
        return 0.0
    return 1 / sum(1 / period for period in periods)


def pod_period(stages: Sequence[Stage]) -> float:
    """Seconds a micro-batch of a full chain."""
    return max(stage_period(stages, at) for at in range(len(stages)))


def pod_latency(stages: Sequence[Stage]) -> float:
    """Seconds of one micro-batch through an empty chain, by the slowest team of each stage."""
    return sum(max(busy(stages, at, team).latency for team in stage.teams) for at, stage in enumerate(stages))
