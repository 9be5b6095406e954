"""Workers grouped into teams that act as one: each worker of a team holds one shard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.strategy.exchange import ASSUMED, Exchange

WAKE_SECONDS = 18e-6
"""Of a meeting in one process, for each shard: its thread is woken and waited for."""


@dataclass(frozen=True)
class Links:
    """How the workers of a team meet; as it is, in one process, where each block waits for the last."""

    exchange_seconds: float = WAKE_SECONDS
    """Of a meeting beside its bytes, for each shard."""

    hand_over_seconds: float = 0.0
    """Of a block that goes from stage to stage, beside its bytes: for the worker that sends it and for the other."""

    in_flight: int = 1
    """Micro-batches that a team has at once: with several, nobody waits for the last one to be joined."""

    thread_gain: float = 0.0
    """How much of a worker each further core of a team adds for what stays whole: above 0 only in one process."""

    def speedup(self, workers: int) -> float:
        """How much faster a team of so many runs what stays whole than one worker."""
        return 1 + self.thread_gain * (workers - 1)


INLINE = Links()
"""Of threads in one process."""


def apart(exchange: Exchange) -> Links:
    """Of workers in processes or machines of their own: to meet, a block goes to the shard and one comes back.

    Of each block, half is the work of who sends it and half of who receives it.
    """
    return Links(exchange.block_seconds, exchange.block_seconds / 2, in_flight=4)


APART = apart(ASSUMED)
"""The same where nothing was measured."""


def teams_of(workers: Sequence[ClusterWorker], shards: int) -> tuple[ClusterWorker, ...]:
    """As many teams as there can be, of workers as alike as possible; a team is as good as its weakest worker.

    >>> [team.name for team in teams_of([ClusterWorker("a"), ClusterWorker("b", speed=2), ClusterWorker("c")], 2)]
    ['b+a']

    Args:
        workers: all of them.
        shards: workers of a team; 1 gives the workers as they are.
    """
    if shards == 1:
        return tuple(workers)
    order = sorted(workers, key=lambda one: (-one.speed, -one.memory_bytes, -one.bandwidth))
    return tuple(_team(order[at : at + shards]) for at in range(0, len(order) - shards + 1, shards))


def _team(members: Sequence[ClusterWorker]) -> ClusterWorker:
    return ClusterWorker(
        "+".join(one.name for one in members),
        min(one.speed for one in members),
        {},
        min(one.memory_bytes for one in members),
        min(one.bandwidth for one in members),
        all(one.local for one in members),
    )


def alike(workers: Sequence[ClusterWorker]) -> tuple[tuple[ClusterWorker, ...], ...]:
    """The workers in groups of equal speed, memory and bandwidth, the fastest first."""
    groups: dict[tuple[float, float, float], list[ClusterWorker]] = {}
    for one in workers:
        groups.setdefault((-one.speed, -one.memory_bytes, -one.bandwidth), []).append(one)
    return tuple(tuple(groups[key]) for key in sorted(groups))


def shard_counts(workers: int, most: int = 16) -> tuple[int, ...]:
    """Numbers of shards that are tried: powers of two, and all workers.

    >>> shard_counts(6)
    (2, 4, 6)
    """
    powers = {2**power for power in range(1, int(math.log2(max(workers, 1))) + 1)}
    return tuple(sorted(count for count in powers | {workers} if 2 <= count <= min(workers, most)))
