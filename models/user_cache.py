"""The user's cache folder: what can be made, or fetched, again; and folders in it that only the user can write."""

from __future__ import annotations

import contextlib
import os
import stat

from beamsplit.models.errors import UsageError

VARIABLE = "BEAMSPLIT_CACHE"
"""Names another folder than the system's."""


def cache_folder(name: str) -> str:
    """The path of `$BEAMSPLIT_CACHE/NAME`; without it in `beamsplit` where this system keeps what can be made again.

    That is `$XDG_CACHE_HOME`, `~/.cache`, `~/Library/Caches` or `%LOCALAPPDATA%`.
    """
    from platformdirs import user_cache_dir

    base = os.environ.get(VARIABLE) or user_cache_dir("beamsplit", appauthor=False, opinion=False)
    return os.path.abspath(os.path.join(base, name))


def private_folder(name: str) -> str:
    """A `cache_folder` that nobody but this user can write.

    It is made (mode 0700) if it is not there. What lies in it chooses what is run, so a folder that another user made,
    or can write, is not used as it is found.

    Raises:
        UsageError: it is another user's, others can write it, or it is a link or no folder.
        OSError: it cannot be made.
    """
    folder = cache_folder(name)
    above = os.path.dirname(folder)
    os.makedirs(os.path.dirname(above), mode=0o700, exist_ok=True)
    for one in (above, folder):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, 0o700)
    _check_ours(folder)
    _check_above(folder)
    return folder


def _check_ours(folder: str) -> None:
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode):
        raise _refused(folder, "is a link")
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(folder, "is no folder")
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid != os.geteuid():
        raise _refused(folder, f"belongs to another user (number {found.st_uid})")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(folder, "can be written by other users")


def _check_above(folder: str) -> None:
    """Raise where somebody else could put another folder in the place of one above."""
    if os.name != "posix":
        return
    # Where a container maps users, the system's own folders belong to whom `/` does.
    trusted = {0, os.geteuid(), os.stat("/").st_uid}
    link = os.path.dirname(folder)
    if os.lstat(link).st_uid not in trusted:
        raise _refused(folder, f"lies in {link}, which belongs to another user (number {os.lstat(link).st_uid})")
    above = os.path.dirname(os.path.realpath(folder))
    while True:
        found = os.stat(above)
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise _refused(folder, f"lies in {above}, which can be written by other users")
        if found.st_uid not in trusted:
            raise _refused(folder, f"lies in {above}, which belongs to another user (number {found.st_uid})")
        if os.path.dirname(above) == above:
            return
        above = os.path.dirname(above)


def _refused(folder: str, why: str) -> UsageError:
    return UsageError(
        f"{folder} {why}, and what is kept there for later could be chosen by them: remove it, or name a folder of "
        f"your own with {VARIABLE}"
    )
