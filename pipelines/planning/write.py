"""Writes what a plan gives: the plan, its stages, the annotated model and the report; all of a file or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePath

from beamsplit.models.owned_folder import files_in, remove_abandoned, temporary
from beamsplit.models.shard.plan import moved
from beamsplit.models.split.plan import Plan, to_json
from beamsplit.models.split.saved_files import with_hashes, without_files
from beamsplit.models.split.stage import save_stages
from beamsplit.transforms.write.storage import local_path, open_output
from beamsplit.transforms.write.storage import replace as rename

PLAN_FILE = "plan.json"


def write_text(path: str, text: str) -> None:
    """Write a file under a temporary name, and give it its own when it is whole."""
    if local_path(path) is None:
        with open_output(path) as whole:  # is there once it is whole
            whole.write(text.encode("utf-8"))
        return
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, f".{name}-{os.getpid()}.part")
    try:
        with open_output(hidden) as file:
            file.write(text.encode("utf-8"))
        rename(hidden, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(str(local_path(hidden)))
        raise


@contextlib.contextmanager
def folder_beside(path: str) -> Iterator[str]:
    """A hidden folder on the file system of `path` where that is a local one, gone at the end."""
    local = local_path(path)
    parent = None
    if local is not None:
        parent = os.path.dirname(os.path.abspath(local))
        os.makedirs(parent, exist_ok=True)
        remove_abandoned(parent, r"\.beamsplit-plan-.*")
    with temporary(".beamsplit-plan-", parent) as hidden:
        yield hidden


def move_files(source: str, target: str) -> None:
    """Move the files of a local folder into another, which may be on any file system; plan.json comes last."""
    local = local_path(target)
    for name in sorted(files_in(source), key=lambda name: (name == PLAN_FILE, name)):
        if local is not None:
            os.makedirs(local, exist_ok=True)
            if os.path.isdir(os.path.join(source, name)):
                # A folder takes the place of an empty one only.
                shutil.rmtree(os.path.join(local, name), ignore_errors=True)
            os.replace(os.path.join(source, name), os.path.join(local, name))
            continue
        with open(os.path.join(source, name), "rb") as file, open_output(f"{target.rstrip('/')}/{name}") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)


def write_stages(
    model: object,
    plan: Plan,
    target: str,
    check: Callable[[Plan, str], None],
    more: Callable[[Plan, str], Plan] | None = None,
) -> Plan:
    """Save the stages, and let them be seen once they have been checked.

    Args:
        model: the graph that the plan is of.
        plan: without files.
        target: a folder, also `gs://...`.
        check: called with the plan and the folder that it lies in for now; raises where the stages are wrong.
        more: likewise, behind it: adds files, and gives the plan with them; for a folder of this machine.

    Returns:
        The plan with its stages' files.
    """
    with folder_beside(os.path.join(target, PLAN_FILE) if local_path(target) is not None else target) as hidden:
        saved = save_stages(model, plan, hidden)  # type: ignore[arg-type]
        check(saved, hidden)
        if more is not None:
            saved = more(saved, hidden)
        saved = with_hashes(saved, hidden)
        with open(os.path.join(hidden, PLAN_FILE), "w", encoding="utf-8") as file:
            file.write(to_json(saved))
        move_files(hidden, target)
    return saved


def with_files_seen_from(plan: Plan, stages_folder: str, plan_path: str) -> Plan:
    """The plan with its stages' files named relative to the folder of `plan_path`; without them where they lie outside.

    E.g. stages in `out/stages`, the plan in `out/plan.json`: `stages/stage-0.onnx`.
    """
    way = way_to(stages_folder, plan_path)
    if way is None:
        return without_files(plan)
    files = [PurePath(way, str(stage.file)).as_posix() for stage in plan.stages]
    shards = [None if stage.shards is None else moved(stage.shards, way) for stage in plan.stages]
    seen = (replace(s, file=f, shards=n) for s, f, n in zip(plan.stages, files, shards, strict=True))
    return replace(plan, stages=tuple(seen))


def way_to(folder: str, plan_path: str) -> str | None:
    """The relative path from a plan's own folder to a folder of files in it; None where it is no such folder.

    Tells the user then: a plan names files of its own folder only.
    """
    here, there = local_path(os.path.dirname(plan_path)), local_path(folder)
    if here is None or there is None:
        way = "." if os.path.dirname(plan_path) == folder.rstrip("/") else ".."
    else:
        way = PurePath(os.path.relpath(os.path.realpath(there), os.path.realpath(here or "."))).as_posix()
    if way != ".." and not way.startswith("../"):
        return way
    print(
        f"note: --output {plan_path} does not name the files in {folder}, which is not in its folder: "
        f"{folder.rstrip('/')}/{PLAN_FILE} does",
        file=sys.stderr,
    )
    return None
