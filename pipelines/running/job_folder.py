"""The folder of a command in the temporary folder, which goes with it however it ends."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from beamsplit.models.owned_folder import remove_abandoned, temporary

PREFIX = "beamsplit-job-"

CLUSTER_JOB = "cluster-job.json"
"""File with the job on a cluster whose workers are the command's: where they end with it, the job cannot go on."""


@contextlib.contextmanager
def job_folder() -> Iterator[str]:
    """A folder that the command and its workers on this machine share; gone when it is over.

    What this process makes in the temporary folder lies in it, Beam's staged files too, which Beam leaves behind. Those
    of commands that were killed are removed, and their jobs on clusters cancelled.
    """
    remove_abandoned(tempfile.gettempdir(), f"{PREFIX}.*", _cancel_job)
    with temporary(PREFIX) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _cancel_job(folder: str) -> None:
    """Cancel what a command that was killed left on a cluster: it would hold its slots for ever."""
    try:
        left = json.loads((Path(folder) / CLUSTER_JOB).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    from beamsplit.runners.flink_rest import cancel_left

    if cancel_left(left["master"], left["job"]):
        which = f"job {left['job']} on the Flink cluster at {left['master']}"
        print(f"note: the command of {which} was killed, so it had no workers: it is cancelled", file=sys.stderr)
