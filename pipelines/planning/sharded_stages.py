"""`plan --stages K --shards N --save_stages DIR`: the saved stages are divided over shards, and checked."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.split.plan import Plan

if TYPE_CHECKING:
    from beamsplit.pipelines.planning.rows import SampleRows


def divide_saved(rows: SampleRows, plan: Plan, folder: str, shards: int) -> Plan:
    """Divide the stages in the folder, compare them with the whole model.

    Args:
        rows: of the plan command.
        plan: its stages' files are in the folder.
        folder: on this machine.
        shards: of each stage.

    Raises:
        UsageError: no stage can be divided so, or the shards differ from the whole model.
    """
    from beamsplit.models.graph.model_file import ModelFile
    from beamsplit.models.running.session import drop_session, get_session
    from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
    from beamsplit.models.split.chain import check_same, tolerance_of
    from beamsplit.models.split.sharded_stages import divide_stages, one_chain
    from beamsplit.models.split.staged import tensors_of

    if rows.session is None:
        raise UsageError(f"--shards runs the model on a few rows: {rows.notes[0]}; divide it on a larger machine")
    feeds = rows.take(1 if rows.row_by_row else SAMPLE_RUN_ROWS)
    sessions = [get_session(ModelFile(os.path.join(folder, str(stage.file))), rows.options) for stage in plan.stages]
    tensors = tensors_of(sessions, feeds)
    for one in sessions:
        drop_session(one)
    divided, kept = divide_stages(plan, folder, tensors, shards)
    whole = get_session(rows.model, rows.options)
    chain = ShardedSession(
        ShardedModel(one_chain(divided), folder, (rows.options,) * shards, rows.options, whole.signature)
    )
    tolerance = tolerance_of(rows.model.path)
    try:
        check = check_same(whole, chain, feeds, tolerance, of="the stages' shards do", fix="leave --shards out")
    finally:
        chain.drop()
        drop_session(whole)
    for line in (*(f"note: {line}" for line in kept), *(f"check: shards: {line}" for line in check.lines)):
        print(line, file=sys.stderr)
    return divided
