"""The files that a written plan names: they lie in its folder, and hold what its hashes say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import check_contents, content_hash, data_hash
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.split.plan import Plan

_SHA256 = re.compile(r"[0-9a-f]{64}")


def with_hashes(plan: Plan, folder: str) -> Plan:
    """The plan with the hashes of its stages' files, and of their shards', which lie in the folder."""
    stages = tuple(
        replace(
            stage,
            sha256="" if stage.file is None else content_hash(os.path.join(folder, stage.file)),
            shards=None if stage.shards is None else shards_with_hashes(stage.shards, folder),
        )
        for stage in plan.stages
    )
    return replace(plan, stages=stages)


def shards_with_hashes(plan: ShardPlan, folder: str) -> ShardPlan:
    """The plan with the hashes of its files, which lie in the folder."""
    steps = tuple(
        replace(step, sha256=tuple(content_hash(os.path.join(folder, file)) for file in step.files))
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def without_hashes(plan: Plan) -> Plan:
    """The plan of stages that are saved anew: their files' bytes may differ, what they compute does not."""
    return replace(plan, stages=tuple(replace(stage, sha256="") for stage in plan.stages))


def without_files(plan: Plan) -> Plan:
    """The plan of stages that are cut out of the model again when it runs."""
    return replace(plan, stages=tuple(replace(stage, file=None, sha256="", shards=None) for stage in plan.stages))


def files_of(plan: Plan | ShardPlan) -> Iterator[tuple[str, str]]:
    """Each file that the plan names, and its hash: empty where there is none."""
    if isinstance(plan, ShardPlan):
        for step in plan.steps:
            hashes = step.sha256 if len(step.sha256) == len(step.files) else ("",) * len(step.files)
            yield from zip(step.files, hashes, strict=True)
        return
    for stage in plan.stages:
        if stage.file is not None:
            yield stage.file, stage.sha256
        if stage.shards is not None:
            yield from files_of(stage.shards)


def check_named(plan: Plan | ShardPlan, path: str) -> None:
    """Raise for what a plan that somebody else wrote may say of its files.

    Args:
        plan: as it was read.
        path: of its file, with the option that named it, for messages.

    Raises:
        UsageError: a file does not lie in the plan's folder by its name, or has no hash.
    """
    # A plan of shards names its files before they are saved; then they are made again.
    saved = not isinstance(plan, ShardPlan) or any(step.sha256 for step in plan.steps)
    for file, sha256 in files_of(plan):
        parts = file.replace("\\", "/").split("/")
        if not file or "\0" in file or ":" in parts[0] or not parts[0] or ".." in parts:
            raise UsageError(
                f"{path} names the file {file!r}, and files of a plan lie in its folder: save them there with "
                "python -m pipelines.plan --save_stages or --save_shards"
            )
        if saved and not _SHA256.fullmatch(sha256):
            raise UsageError(
                f"{path} does not say what {file} holds (an older version made it, or it was changed): make it again "
                "with python -m pipelines.plan"
            )


def check_data(plan: Plan | ShardPlan, model: str, path: str) -> None:
    """Raise unless the external data of the whole model is what it was when it was planned.

    Raises:
        UsageError: it has changed since, or nobody knows.
    """
    found = data_hash(model)
    if plan.data_hash != found:
        was = f"{plan.data_hash[:12]} then" if plan.data_hash else "not said in the plan"
        raise UsageError(
            f"{path} is of {plan.model} with other weights than --model {model} has in its external data (SHA-256 "
            f"{found[:12] or 'of none'} now, {was}): make it again with python -m pipelines.plan"
        )


def check_saved(plan: Plan | ShardPlan, folder: str, path: str) -> None:
    """Raise unless the plan's files on this machine lie in its folder, links followed, and are those that it saved.

    A plan that is itself a link, as in a cache of Hugging Face, may have its files where that leads to.

    Args:
        plan: whose files are there.
        folder: of the plan.
        path: of its file, as the user gave it.

    Raises:
        UsageError: one is another.
    """
    roots = {os.path.realpath(folder), os.path.dirname(os.path.realpath(path))}
    files = [(os.path.join(folder, file), sha256) for file, sha256 in files_of(plan)]
    files = [(file, sha256) for file, sha256 in files if os.path.lexists(file)]  # Who opens others misses them.
    for file, _ in files:
        real = os.path.realpath(file)
        if not any(os.path.commonpath([real, root]) == root for root in roots):
            raise UsageError(
                f"--plan {path}: {file} is a link out of the plan's folder; put the file itself there, or save it "
                "again with python -m pipelines.plan --save_stages or --save_shards"
            )
    check_contents(files)
