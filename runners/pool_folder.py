"""The folder of a pool that runs beside a TaskManager: those that pools which were killed left are removed.

A pool locks a file in its folder for as long as it lives, however it ends. The folder gets its name once it is locked,
so that none is taken for left that is about to be used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing removed
    fcntl = None  # type: ignore[assignment]

PREFIX = "beamsplit-pool-"
LOCK = ".lock"


@contextlib.contextmanager
def pool_folder() -> Iterator[Path]:
    """A new folder in the temporary folder, gone at the end."""
    parent = Path(tempfile.gettempdir())
    _remove_left(parent)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    handle = os.open(made / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        made = made.rename(parent / made.name.removeprefix("."))
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is used, another user's, or no folder of a pool
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or fcntl is None:
                continue
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
