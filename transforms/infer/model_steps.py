"""The steps of a model in parts, each with workers of its own; no Beam.

stages only           [whole 0] | [whole 1] | [whole 2]                        each a stage
shards only           whole 0 -> (shard 0, shard 1) -> whole 2 -> ...          all of one stage
stages and shards     whole 0 -> (shard 0, shard 1) -> whole 2 | whole 3 -> (shard 0, shard 1) -> whole 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.running.boundary import Boundary, Layout
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.shard.sharded import ShardedModel
from beamsplit.models.shard.step_models import part_name
from beamsplit.models.split.staged import StagedModel
from beamsplit.transforms.infer.join import ShardJoin
from beamsplit.transforms.infer.shard_step import ROWS, ShardStep
from beamsplit.transforms.infer.whole_step import WholeStep, carried_schema


@dataclass(frozen=True)
class ShardedStep:
    """A step that is divided over shards, and what joins them."""

    shards: tuple[ShardStep, ...]
    join: ShardJoin

    @property
    def number(self) -> int:
        """Position among all steps of the model, from 0."""
        return self.join.step


@dataclass(frozen=True)
class ModelSteps:
    """All steps of a model, in order, and the stage that each is of."""

    steps: tuple[WholeStep | ShardedStep, ...]

    stages: tuple[int, ...]
    """Of each step its stage, a slice of the model by depth: each has workers of its own."""

    def where(self, at: int) -> str:
        """What the step at a position is called in errors: by its stage, if there are several, and by its number."""
        number, stage = self.steps[at].number, self.stages[at]
        if len(set(self.stages)) == len(self.stages):
            return f"infer: stage {stage}"
        return f"infer: stage {stage}, step {number}" if any(self.stages) else f"infer: step {number}"

    @property
    def weight_bytes(self) -> dict[tuple[int, int | None], int]:
        """Bytes of weights that each kind of worker holds: by stage, and by shard, None for the whole steps."""
        held: dict[tuple[int, int | None], int] = {}
        for stage, step in zip(self.stages, self.steps, strict=True):
            held.setdefault((stage, None), 0)
            for shard, one in enumerate(step.shards) if isinstance(step, ShardedStep) else [(None, step)]:
                held[stage, shard] = held.get((stage, shard), 0) + one.weight_bytes
        return held


@dataclass(frozen=True)
class StepContext:
    """What all steps of a model share."""

    scoring: ScoringPlan
    """Of the whole model; `batch_size` is the rows of a micro-batch."""

    schema: pa.Schema
    """Of the blocks of data."""

    keep: tuple[str, ...]
    """Columns that stand before the predictions."""

    devices: int = 0
    """GPUs in a machine, which workers take in turn."""

    job_dir: str | None = None
    """Folder that local workers share."""

    @property
    def carried(self) -> pa.Schema:
        """Columns that travel with the rows."""
        return carried_schema(self.schema, self.keep)


def stage_steps(
    model: StagedModel,
    layouts: Sequence[Sequence[Layout]],
    context: StepContext,
    *,
    folder: str | None = None,
) -> ModelSteps:
    """The steps of a model that is split into stages: a whole step a stage.

    Args:
        model: the split model.
        layouts: for each cut the tensors that cross it, from `boundary_layouts`.
        context: what its steps share.
        folder: where workers find the stages' files; None for the model's own.
    """
    scoring, keep, carried = context.scoring, context.keep, context.carried
    cuts = [None, *(Boundary(tuple(one), carried) for one in layouts), None]
    folder = model.folder if folder is None else folder
    steps = tuple(
        WholeStep(
            stage.index,
            f"{folder}/{stage.file}",
            options,
            scoring,
            keep,
            cuts[stage.index],
            cuts[stage.index + 1],
            stage.weight_bytes,
            context.devices,
            context.job_dir,
            stage.sha256,
        )
        for stage, options in zip(model.plan.stages, model.sessions, strict=True)
    )
    return ModelSteps(steps, tuple(range(len(steps))))


def shard_steps(
    model: ShardedModel,
    layouts: Sequence[Sequence[Layout]],
    context: StepContext,
) -> ModelSteps:
    """The steps of a divided model.

    Args:
        model: divided, its files on this machine.
        layouts: for each step the tensors that cross the cut before it, from `shard_layouts`.
        context: what its steps share.
    """
    plan, devices, job_dir = model.plan, context.devices, context.job_dir
    cuts = [Boundary(tuple(one), context.carried) for one in layouts]
    whole = (model.whole, context.scoring, context.keep)
    steps: list[WholeStep | ShardedStep] = []
    depths: list[int] = []
    if plan.steps[0].sharded:
        # The shards take micro-batches: somebody has to make them of the data, once.
        steps.append(WholeStep(0, None, *whole, None, cuts[0], 0, devices, job_dir))
        depths.append(0)
    for at, step in enumerate(plan.steps):
        after = cuts[at + 1] if at + 1 < len(cuts) else None
        depths.append(step.depth)
        if not step.sharded:
            before = cuts[at] if at else None
            file = f"{model.folder}/{step.files[0]}"
            steps.append(
                WholeStep(at, file, *whole, before, after, step.weight_bytes[0], devices, job_dir, step.hash_of(0))
            )
            continue
        assert after is not None, "a join is a whole step"
        made = {part_name(name, shard) for name in step.outputs for shard in range(plan.shards)}
        shards = []
        for shard in range(plan.shards):
            mine = {part_name(name, shard) for name in step.outputs}
            held = tuple(one for one in after.layouts if one.name in mine or (shard == 0 and one.name not in made))
            part = Boundary(held, ROWS)
            file = f"{model.folder}/{step.files[shard]}"
            held_bytes = step.weight_bytes[shard]
            more = (held_bytes, devices, job_dir, step.hash_of(shard))
            shards.append(ShardStep(at, shard, file, model.shards[shard], cuts[at], part, *more))
        steps.append(ShardedStep(tuple(shards), ShardJoin(at, plan.shards, after)))
    return ModelSteps(tuple(steps), tuple(depths))
