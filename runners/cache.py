"""Things that are fetched or built once a user and kept: jars, distributions."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from beamsplit.runners.errors import RunnerError

VARIABLE = "BEAMSPLIT_CACHE"
"""Names another folder than the system's; the same as for measured profiles and fetched models."""


def cache_folder() -> Path:
    """`$BEAMSPLIT_CACHE`, else `beamsplit` where this system keeps what can be made again."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get(VARIABLE) or user_cache_dir("beamsplit", appauthor=False, opinion=False)).absolute()


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` in the cache, made by `make(folder)` if it is not there.

    Several processes may ask at once: one makes it, the others wait. A folder that was not made to its end is not
    there for anyone.
    """
    from filelock import FileLock

    _check_owner(cache_folder())
    target = cache_folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_dir():
            work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            try:
                make(work)
                work.chmod(0o755)
                work.rename(target)
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
    return target


def _check_owner(folder: Path) -> None:
    """Raise where others may have laid there what is run here.

    Raises:
        RunnerError: the folder belongs to another user, or anybody can write it.
    """
    if not folder.exists() or not hasattr(os, "geteuid"):
        return
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
        raise RunnerError(
            f"{folder} belongs to another user, or others can write it, and programs that are kept there are run: "
            f"remove it, or name a cache folder of your own with {VARIABLE}"
        )


@contextlib.contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Let one process of this user in at once, for what keeps a cache of its own that two would spoil."""
    from filelock import FileLock

    _check_owner(cache_folder())
    folder = cache_folder() / "jars"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        yield
