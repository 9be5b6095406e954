"""The folder of a command in the temporary folder, which goes with it however it ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from beamsplit.models.owned_folder import remove_abandoned, temporary

PREFIX = "beamsplit-job-"


@contextlib.contextmanager
def job_folder() -> Iterator[str]:
    """A folder that the command and its workers on this machine share; gone when it is over.

    What this process makes in the temporary folder lies in it, Beam's staged files too, which Beam leaves behind. Those
    of commands that were killed are removed.
    """
    remove_abandoned(tempfile.gettempdir(), f"{PREFIX}.*")
    with temporary(PREFIX) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before
