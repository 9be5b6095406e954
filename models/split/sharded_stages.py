"""A model split by depth and by width: each stage, or those that have something to divide, is run as shards.

    stage 0                        cut   stage 1
    whole -+-> shard 0 -+-> whole   |    whole -+-> shard 0 -+-> whole
           +-> shard 1 -+           |           +-> shard 1 -+

Inline, a stage's shards stand where its session does, so stages overlap and shards run side by side. With workers of
their own the steps of all stages are one chain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.signature import Signature
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.shard.plan import Join, ShardPlan, ShardStepPlan, moved
from beamsplit.models.shard.planner import LEAST_SHARE, NothingToDivide, divide
from beamsplit.models.shard.sharded import ShardedModel
from beamsplit.models.split.plan import Plan
from beamsplit.models.values.tensors import Array


def divide_stages(
    plan: Plan, folder: str, tensors: Mapping[str, Array], shards: int, keep: bool = True
) -> tuple[Plan, tuple[str, ...]]:
    """Divide the saved stages of a plan over shards; their files lie in `FOLDER/stage-K-shards/`.

    Args:
        plan: its stages have a `file` each.
        folder: that the files are relative to.
        tensors: all that the stages read, for a few sample rows, by name.
        shards: how many of each stage.
        keep: whether the files of stages that are divided stay.

    Returns:
        The plan with its stages' shards, and lines that say which stages stay whole, and why.

    Raises:
        UsageError: no stage can be divided so, or the folder cannot be written.
    """
    least = max(1, int(sum(stage.weight_bytes for stage in plan.stages) * LEAST_SHARE))
    stages, kept = [], []
    for stage in plan.stages:
        model = ModelFile(os.path.join(folder, str(stage.file)))
        into = f"stage-{stage.index}-shards"
        feeds = {name: tensors[name] for name in stage.inputs}
        try:
            divided = divide(model, feeds, shards, os.path.join(folder, into), least)
        except NothingToDivide as error:
            kept.append(f"stage {stage.index} stays whole: {error.why}")
            stages.append(stage)
            continue
        stages.append(replace(stage, shards=moved(divided, into)))
        for file in () if keep else (model.path, f"{model.path}.data"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
    if all(stage.shards is None for stage in stages):
        raise UsageError(
            f"no stage can be divided over {shards} shards ({'; '.join(kept)}): give fewer --shards, or leave them out"
        )
    return replace(plan, stages=tuple(stages)), tuple(kept)


def shards_of(plan: Plan) -> int:
    """Over how many shards the stages of a plan are divided; 1 where none is."""
    return max((stage.shards.shards for stage in plan.stages if stage.shards is not None), default=1)


def sharded_stages(
    plan: Plan, folder: str, sessions: Sequence[SessionOptions], signatures: Sequence[Signature]
) -> tuple[ShardedModel | None, ...]:
    """Of each stage how it is run as shards in one process; None for those that stay whole.

    Args:
        plan: with its stages' shards.
        folder: that the files are relative to.
        sessions: of each stage.
        signatures: of each stage's model.
    """
    return tuple(
        None
        if stage.shards is None
        else ShardedModel(stage.shards, folder, (options,) * stage.shards.shards, options, signature)
        for stage, options, signature in zip(plan.stages, sessions, signatures, strict=True)
    )


def one_chain(plan: Plan) -> ShardPlan:
    """The steps of all stages as those of one divided model, each with the stage that it is of as its `depth`.

    Raises:
        ValueError: no stage is divided.
    """
    steps: list[ShardStepPlan] = []
    joins: list[Join] = []
    for stage in plan.stages:
        if stage.shards is None:
            whole = ShardStepPlan(
                False, stage.inputs, stage.outputs, (stage.weight_bytes,), (str(stage.file),), stage.index,
                (stage.sha256,),
            )  # fmt: skip
            steps.append(whole)
            continue
        joins += [replace(join, step=join.step + len(steps)) for join in stage.shards.joins]
        steps += [replace(step, depth=stage.index) for step in stage.shards.steps]
    divided = [stage.shards for stage in plan.stages if stage.shards is not None]
    if not divided:
        raise ValueError("no stage is divided")
    return ShardPlan(
        model=plan.model,
        model_hash=plan.model_hash,
        shards=divided[0].shards,
        steps=tuple(steps),
        outputs=plan.outputs,
        weight_bytes=sum(stage.weight_bytes for stage in plan.stages),
        sharded_bytes=sum(one.sharded_bytes for one in divided),
        joins=tuple(joins),
        layers=tuple(layer for one in divided for layer in one.layers),
        kept_whole=tuple(sorted((kept for one in divided for kept in one.kept_whole), key=lambda k: -k.weight_bytes)),
        rewrites=plan.rewrites,
    )
