"""Where a job's division by width comes from: planned anew, a plan that was saved, or the model's annotations.

Every job asks, most are not divided: what takes long to import is imported where it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.plain import has_fields
from beamsplit.models.shard.annotation import Annotation, read_annotation
from beamsplit.models.shard.plan import ShardPlan, check_shards, from_json
from beamsplit.models.small_file import decode_small
from beamsplit.models.split.saved_files import check_data, check_named, check_saved
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.transforms.fetch.model_schemes import is_elsewhere

if TYPE_CHECKING:
    from beamsplit.models.shard.planner import Division
    from beamsplit.models.values.tensors import Array


@dataclass(frozen=True)
class ShardSource:
    """A division that is not planned by the job."""

    annotation: Annotation | None = None
    """What the model says."""

    plan: ShardPlan | None = None
    path: str | None = None
    """Of the plan."""

    made_here: bool = False
    """Whether this job itself has saved it, in its own folder."""

    @property
    def shards(self) -> int:
        """How many."""
        if self.plan is not None:
            return self.plan.shards
        assert self.annotation is not None
        return self.annotation.shards

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        if self.annotation is None or self.plan is not None:
            return ()
        return (
            f"the model's annotations ({self.annotation.configuration!r}) divide it over {self.shards} shards, and so "
            "it runs; --shards 1 runs it whole",
        )


def find_source(asked: Parallelism, model: str, updating: bool) -> ShardSource | None:
    """The saved plan of shards that `--plan` names, or what the model's annotations say where no option says other.

    Args:
        asked: how the model is to be divided.
        model: its path.
        updating: whether new models take over while the job runs, which follow no annotations.

    Raises:
        UsageError: the annotations cannot be right, or plan and `--shards` do not agree.
    """
    if asked.plan is not None:
        plan = read_shard_plan(asked.plan)
        if plan is None:
            return None
        if asked.shards not in (None, plan.shards):
            raise UsageError(
                f"--plan {asked.plan} has {plan.shards} shards and --shards says {asked.shards}; leave --shards out"
            )
        if asked.stages is not None:
            raise UsageError(
                f"--plan {asked.plan} divides the model by width, and --stages {asked.stages} cuts it by "
                f"depth; leave one of them out, or type --stages {asked.stages} --shards {plan.shards} without --plan"
            )
        return ShardSource(plan=plan, path=asked.plan)
    if asked.shards is not None or asked.stages is not None or updating or is_elsewhere(model):
        return None
    annotation = read_annotation(ModelFile(model))
    return None if annotation is None else ShardSource(annotation)


def drop_unsupported_annotations(
    asked: Parallelism, local: bool, sampled: bool = True
) -> tuple[Parallelism, tuple[str, ...]]:
    """(the model run whole where its annotations cannot be followed, a line that says so).

    Args:
        asked: how the model is to be divided.
        local: whether workers run on this machine.
        sampled: whether there are sample rows, on which shards are compared with the whole model.
    """
    source = asked.shard_source
    if source is None or source.annotation is None or (local and sampled):
        return asked, ()
    why = "there are no rows to check that with" if local else "shards run on this machine only so far"
    line = (
        f"the model's annotations ({source.annotation.configuration!r}) divide it over {source.shards} shards, but "
        f"{why}: it runs whole"
    )
    return replace(asked, shards=None, shard_source=None), (line,)


def is_annotated(model: str) -> bool:
    """Whether the model has annotations that divide it, be they right or not."""
    try:
        return not is_elsewhere(model) and read_annotation(ModelFile(model)) is not None
    except UsageError:
        return True


def read_shard_plan(path: str) -> ShardPlan | None:
    """The plan in a file, if it is one of shards.

    Raises:
        UsageError: it is, but of a version that this program does not read.
    """
    from beamsplit.transforms.write.storage import open_input

    try:
        with open_input(path) as file:
            text = decode_small(file)
    except (OSError, ValueError):
        return None  # Who reads plans of stages says what is wrong.
    if not has_fields(text, ("shards", "joins")):
        return None
    plan = from_json(text, f"--plan {path}")
    check_shards(plan, f"--plan {path}")
    check_named(plan, f"--plan {path}")
    return plan


def divided(
    source: ShardSource | None, model: ModelFile, take: Callable[[], dict[str, Array]], shards: int, folder: str
) -> tuple[ShardPlan, str]:
    """(the division, the folder of its files on this machine): as the source says, or planned anew.

    Args:
        source: from `find_source`.
        model: the whole model.
        take: a few sample rows.
        shards: how many.
        folder: where shards go that are not saved yet.

    Raises:
        UsageError: the plan is not of this model, or it cannot be divided so.
    """
    from beamsplit.models.shard.planner import divide

    plan = source.plan if source is not None else None
    if source is None or plan is None:
        annotation = source.annotation if source is not None else None
        return divide(model, take(), shards, folder, annotation=annotation), folder
    path = str(source.path)
    if source.made_here:
        return plan, os.path.dirname(path)
    check_model(plan, model, f"--plan {path}")
    if "://" not in path and all(stage.sha256 for stage in plan.steps):
        saved = os.path.dirname(os.path.abspath(path))
        if all(os.path.isfile(os.path.join(saved, file)) for stage in plan.steps for file in stage.files):
            check_saved(plan, saved, path)
            return plan, saved
    division = again(plan, model, take(), f"--plan {path}")
    division.save(folder)
    return division.plan, folder


def check_model(plan: ShardPlan, model: ModelFile, path: str) -> None:
    """Raise unless the plan is of this model.

    Raises:
        UsageError: its hash or its rewrites are others.
    """
    found = model_hash(model.path)
    if plan.model_hash != found:
        raise UsageError(
            f"{path} is of {plan.model} with the hash {plan.model_hash[:12]}, but --model {model.path} has "
            f"{found[:12]}: make it again with python -m pipelines.plan --shards"
        )
    check_data(plan, model.path, path)
    if plan.rewrites != model.rewrites:
        raise UsageError(
            f"{path} was made with the rewrites {list(plan.rewrites)}, but with this data the model is run with "
            f"{list(model.rewrites)}: make it again with python -m pipelines.plan --shards and --sample"
        )


def again(plan: ShardPlan, model: ModelFile, feeds: dict[str, Array], path: str) -> Division:
    """The division of a plan whose files are not there.

    Raises:
        UsageError: another one comes out.
    """
    from beamsplit.models.shard.planner import make_division

    annotation = read_annotation(model) if plan.configuration else None
    division = make_division(model, feeds, plan.shards, plan.least_bytes, annotation)
    if division.plan.bare_steps != plan.bare_steps or division.plan.joins != plan.joins:
        raise UsageError(
            f"{path} does not come out again from --model {model.path}: another version made it, or the sample is of "
            "other shapes; make it again with python -m pipelines.plan --shards"
        )
    return division
