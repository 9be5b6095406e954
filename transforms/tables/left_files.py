"""Files of jobs that were killed before a table had them.

TABLE/.part-JOB-.parquet-JOB/        temporary, owned by the command while it lives
TABLE/part-JOB-00000-of-00002.parquet    its name, and from the commit on the table's
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from beamsplit.models.owned_folder import remove_abandoned
from beamsplit.transforms.write.storage import files_in, local_path, remove, remove_folder

_FOLDER = r"\.part-(?P<job>[0-9a-f]{12})-\.(?:parquet|lance)-(?P=job)"


def pattern_of(folder: str, job_id: str, extension: str = ".parquet") -> str:
    """What the files of a job are called.

    >>> pattern_of("data/sales", "0123456789ab")
    'data/sales/part-0123456789ab-*.parquet'
    """
    return f"{folder.rstrip('/')}/part-{job_id}-*{extension}"


def is_named_so(name: str) -> bool:
    """Whether a job's file may be called so.

    >>> is_named_so("part-0123456789ab-00000-of-00002.parquet"), is_named_so("sales.parquet")
    (True, False)
    """
    return re.fullmatch(r"part-[0-9a-f]{12}-\d{5,}-of-\d{5,}\.(?:parquet|lance)", name) is not None


def remove_left(folder: str, is_known: Callable[[str], bool]) -> None:
    """Remove what jobs have left whose commands were killed.

    Args:
        folder: of the table, or of its data, where the files lie.
        is_known: whether the table has, or had, files of the job with this id: then none is removed.
    """

    def files(job_id: str) -> None:
        if not is_known(job_id):
            for path in files_in(f"{folder.rstrip('/')}/", f"part-{job_id}-"):
                remove(path)

    local = local_path(folder)
    if local is not None:
        remove_abandoned(local, _FOLDER, lambda left: files(os.path.basename(left).split("-")[1]))
        return
    from beamsplit.transforms.write.store_folders import left_folders

    for job_id, left in left_folders(folder.rstrip("/"), ".part-", _FOLDER).items():
        files(job_id)
        remove_folder(left)
