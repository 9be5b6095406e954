"""What a divided model takes on this machine: its steps timed one by one, the shards of each side by side.

whole 0 |--|  step 1, shard 0 |-----|  + waking    whole 2 |--|  ...      seconds of a block = all steps together,
                     shard 1 |----|                                      of a sharded one the slowest shard
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from models.shard.sharded import ShardedSession
from models.split.stage_times import time_together
from models.split.trace import time_runs
from models.tensors import Array

WAKE_SECONDS = 18e-6
"""Of each shard of a step, whose thread is woken and waited for."""

BUDGET_SECONDS = 1.0
"""For the runs of all steps together, about."""


@dataclass(frozen=True)
class ShardTimes:
    """What the steps of a divided model take for one block."""

    step_seconds: tuple[float, ...]
    """Of each step; of a sharded one while all its shards run, on the cores that they share."""

    wake_seconds: float
    """For waking the shards' threads and waiting for them, all steps together."""

    @property
    def seconds(self) -> float:
        """Of one block."""
        return sum(self.step_seconds) + self.wake_seconds


def time_parts(
    session: ShardedSession, feeds: Mapping[str, Array], budget_seconds: float = BUDGET_SECONDS
) -> ShardTimes:
    """Time each step on its part of the feeds.

    Raises:
        ModelRunError: a step failed.
    """
    plan = session.model.plan
    values = session.tensors(dict(feeds))
    budget = budget_seconds / len(plan.stages)
    found = []
    for stage, sessions in zip(plan.stages, session.sessions, strict=True):
        given = {name: values[name] for name in stage.inputs}
        runs = [partial(one.run, given) for one in sessions]
        found.append(max(time_together(runs, budget)) if len(runs) > 1 else time_runs(runs[0], budget))
    woken = sum(len(stage.files) for stage in plan.stages if stage.sharded)
    return ShardTimes(tuple(found), woken * WAKE_SECONDS)
