"""Giving files their names is not interrupted: a job is given up before that, or comes to its end.

submitter   give_up ---------------> True: nothing gets its name any more, what was written may be deleted
            give_up ---------------> False: too late, the job ends by itself
last step   with renaming(...):  ^
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from beamsplit.transforms.stores.schemes import is_remote
from beamsplit.transforms.write.names import temp_folder
from beamsplit.transforms.write.storage import local_path
from beamsplit.transforms.write.store_folders import folder_here

MARKER = "renaming"
"""A file in the temporary folder: by it a submitter knows what a worker process does."""

# Re-entrant: a signal's handler runs in the midst of what the main thread does.
_lock = threading.RLock()
_given_up: set[str] = set()
_renaming: set[str] = set()


@contextlib.contextmanager
def renaming(output: str, job_id: str) -> Iterator[None]:
    """Around the renames of a job's files.

    Raises:
        RuntimeError: the job was given up.
    """
    with _lock:
        check_wanted(job_id)
        _renaming.add(job_id)
    folder = folder_on_this_machine(output, job_id)
    marker = Path(folder, MARKER) if folder is not None and os.path.isdir(folder) else None
    if marker is not None:
        marker.touch()
    try:
        yield
    except BaseException:
        # The runner may try once more; until then it can be given up.
        if marker is not None:
            marker.unlink(missing_ok=True)
        _renaming.discard(job_id)
        raise


def give_up(output: str, job_id: str) -> bool:
    """Give a job up that was interrupted, unless its files get their names already; whether that was done."""
    folder = folder_on_this_machine(output, job_id)
    with _lock:
        if job_id in _renaming or (folder is not None and os.path.exists(os.path.join(folder, MARKER))):
            return False
        _given_up.add(job_id)
        return True


def folder_on_this_machine(output: str, job_id: str) -> str | None:
    """The temporary folder, or what stands for it on this machine; None where nothing does."""
    folder = temp_folder(output, job_id)
    return folder_here(job_id) if is_remote(folder) else local_path(folder)


@contextlib.contextmanager
def wanted(job_id: str) -> Iterator[None]:
    """Around the making of a file: once `give_up` has returned, no thread of this process makes another.

    Raises:
        RuntimeError: the job was given up.
    """
    with _lock:
        check_wanted(job_id)
        yield


def check_wanted(job_id: str) -> None:
    """Raise for a job that was given up: a worker's thread may not know that yet."""
    if job_id in _given_up:
        raise RuntimeError("the job was interrupted")
