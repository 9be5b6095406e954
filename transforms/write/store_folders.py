"""Temporary folders at a store: whose they are, and those that killed jobs left.

A store has no locks. So a job has a folder of this machine, locked while its process lives, and says at the store which
machine's it is:

    s3://bucket/out/.preds.parquet-JOB/.owner-MACHINE      CACHE/jobs/JOB   locked: the job lives
                                                                            not locked, or gone: it was left
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import disown, is_abandoned, machine, own, remove_abandoned
from beamsplit.models.user_cache import private_folder

if TYPE_CHECKING:
    from beamsplit.transforms.stores.store import Stored

LEFT_SECONDS = 7 * 24 * 3600
"""So long after its last file a folder of another machine's job counts as left."""

_OWNER = ".owner-"


def folder_here(job_id: str) -> str | None:
    """The folder of this machine that stands for a job's temporary folder at a store; None where none can be made."""
    try:
        return os.path.join(private_folder("jobs"), job_id)
    except (OSError, UsageError):
        return None


def own_store_folder(folder: str, job_id: str) -> None:
    """Say whose a job's temporary folder is, and remove those that killed jobs of the same output left.

    Args:
        folder: at a store, ending in the job's id.
        job_id: of the job.

    Raises:
        StoreError: the store does not let it.
    """
    from beamsplit.transforms.stores.store import delete_below, open_write

    parent, _, name = folder.rpartition("/")
    begins = name.removesuffix(job_id)
    for job, left in left_folders(parent, begins, f"{re.escape(begins)}(?P<job>[0-9a-f]{{12}})").items():
        if job != job_id:
            delete_below(left)
    here, owner = folder_here(job_id), _this_machine()
    if here is not None and owner is not None:
        remove_abandoned(os.path.dirname(here), r"[0-9a-f]{12}")
        own(here)
        with open_write(f"{folder}/{_OWNER}{owner}") as file:
            file.write(job_id.encode())


def left_folders(parent: str, begins: str, name: str) -> dict[str, str]:
    """Job -> its temporary folder, of those that killed jobs left.

    Args:
        parent: a folder at a store.
        begins: what the names of the folders in it begin with.
        name: a pattern of all of a name, whose group `job` is the job's id.
    """
    from beamsplit.transforms.stores.store import below

    jobs: dict[tuple[str, str], list[Stored]] = {}
    for one in below(parent, begins):
        found = re.match(f"{name}/", one.path[len(parent) + 1 :])
        if found is not None:
            jobs.setdefault((found["job"], f"{parent}/{found[0][:-1]}"), []).append(one)
    return {job: folder for (job, folder), files in jobs.items() if _is_left(job, files)}


def disown_store_folder(job_id: str) -> None:
    """The job has ended."""
    here = folder_here(job_id)
    if here is not None:
        disown(here)


def _is_left(job_id: str, files: Sequence[Stored]) -> bool:
    owner = _this_machine()
    if owner is not None and any(one.path.endswith(f"/{_OWNER}{owner}") for one in files):
        here = folder_here(job_id)
        return here is not None and is_abandoned(here)
    return max(one.changed for one in files) < time.time() - LEFT_SECONDS


def _this_machine() -> str | None:
    """Names who sees the locks in the cache folder: containers of one machine have several such folders."""
    here = folder_here("")
    if here is None:
        return None
    at = os.stat(here)
    return hashlib.sha256(f"{machine()}:{at.st_dev}:{at.st_ino}".encode()).hexdigest()[:16]
