"""What a divided model takes on this machine: its steps timed one by one, the shards of each side by side.

whole 0 |--|  step 1, shard 0 |-----|    whole 2 |--|  ...      seconds of a block = all steps together,
                     shard 1 |----|                             of a sharded one until its last shard is done
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from beamsplit.models.cost.trace import time_runs
from beamsplit.models.running.session import drop_session
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.shard.step_models import part_name
from beamsplit.models.values.tensors import Array

BUDGET_SECONDS = 1.0
"""For the runs of all steps together, about."""


def time_steps(
    session: ShardedSession, feeds: Mapping[str, Array], budget_seconds: float = BUDGET_SECONDS
) -> tuple[float, ...]:
    """Seconds of each step on its part of the feeds, by itself; of a sharded one from waking its shards to the last.

    Raises:
        ModelRunError: a step failed.
    """
    values = session.tensors(dict(feeds))
    budget = budget_seconds / len(session.sessions)
    return tuple(
        time_runs(partial(session.run_step, number, values), budget) for number in range(len(session.sessions))
    )


def time_in_turn(
    model: ShardedModel, feeds: Mapping[str, Array], budget_seconds: float = BUDGET_SECONDS
) -> tuple[float, ...]:
    """As `time_steps` for shards with workers of their own: each runs by itself, and no other is in memory.

    Raises:
        ModelRunError: a step failed.
    """
    values = dict(feeds)
    parts = sum(len(step.files) for step in model.plan.steps)
    found = []
    for step in model.plan.steps:
        given = {name: values[name] for name in step.inputs}
        seconds = []
        for shard in range(len(step.files)):
            session = model.session(step, shard)
            drop_session(session)
            names = [part_name(name, shard) if step.sharded else name for name in step.outputs]
            values.update(zip(names, session.run(given), strict=True))
            seconds.append(time_runs(partial(session.run, given), budget_seconds / parts))
            del session
        found.append(max(seconds))
    return tuple(found)
