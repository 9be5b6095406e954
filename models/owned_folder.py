"""Folders of one process, which removes them; those of a process that was killed are found by others and removed.

    owner     make -> lock FOLDER/.owner-MACHINE ... use ... remove; the lock ends with the process, however it ends
    worker    lock it too, as long as it must not go although its owner does
    another   lock it alone? no: its owner or a worker lives -> leave; yes -> remove all, the lock's file last

A lock cannot be mistaken for another's, as the number of a process can. What is no folder of this machine and user, or
has no such file, is left alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, nothing is found abandoned
    fcntl = None  # type: ignore[assignment]

REMOVE_SECONDS = 5.0
"""Longest that a folder is tried to be deleted."""

_OWNER = ".owner-"
_held: dict[str, int] = {}
"""Folder -> file that is locked, of this process."""

_lock = threading.Lock()


def machine() -> str:
    """Names the running system: locks that are taken in one are seen by all of it, containers too."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        name = platform.node()
    return re.sub(r"[^\w-]", "_", name) or "here"


def own(folder: str) -> None:
    """Make a folder, if it is not there, that counts as abandoned as soon as this process has ended.

    Raises:
        OSError: it cannot be made.
    """
    folder = os.path.abspath(folder)
    while True:
        handle = _locked(folder, wait=True)
        assert handle is not None
        if _shared(handle, os.path.join(folder, _OWNER + machine())):
            break
        os.close(handle)
    with _lock:
        _held[folder] = handle


def _shared(handle: int, file: str) -> bool:
    """Share the lock of an open file with workers; whether it is that file yet: it was without a lock for a moment."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
    return _is_that(handle, file)


@contextlib.contextmanager
def working_in(folder: str | None) -> Iterator[None]:
    """Within, a folder that `own` made is not abandoned, although its owner may be killed; others are what they are.

    Raises:
        FileNotFoundError: it is taken for abandoned already.
    """
    file = os.path.join(folder or os.devnull, _OWNER + machine())
    try:
        handle = os.open(file, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):  # nobody owns it: its workers are a cluster's
        yield
        return
    try:
        if not _shared(handle, file):
            raise FileNotFoundError(f"{folder} is gone: the command whose it was has ended")
        yield
    finally:
        os.close(handle)


def _locked(folder: str, wait: bool) -> int | None:
    """Make a folder, if it is not there, and lock it; None where another has done so and is not to be waited for."""
    file = os.path.join(folder, _OWNER + machine())
    while True:
        os.makedirs(folder, exist_ok=True)
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # removed by its last holder, or taken for abandoned, as it was not locked yet
            continue
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            return handle
        if _is_that(handle, file):
            return handle
        os.close(handle)


class Hold:
    """A folder that stays when this process ends, and that no other process of this machine holds meanwhile.

    Where a file system has no locks, nobody is kept out.
    """

    def __init__(self, folder: str, handle: int) -> None:
        """Use `hold`."""
        self.folder = folder
        self._handle: int | None = handle

    def release(self) -> None:
        """Let others have it; the folder stays."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def remove(self) -> None:
        """Remove the folder with all in it, the lock's file last."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while not _removed(self.folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.release()


def hold(folder: str) -> Hold | None:
    """Make a folder, if it is not there, and hold it; None where another holds it.

    What is in it when its holder has ended is for the next one; `remove_abandoned` removes it like any other.

    Raises:
        OSError: it cannot be made.
    """
    folder = os.path.abspath(folder)
    handle = _locked(folder, wait=False)
    return None if handle is None else Hold(folder, handle)


def disown(folder: str) -> None:
    """Remove a folder that `own` made, with all in it; for a while as often as threads still make files there."""
    folder = os.path.abspath(folder)
    deadline = time.monotonic() + REMOVE_SECONDS
    while not _removed(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    with _lock:
        handle = _held.pop(folder, None)
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def temporary(prefix: str, parent: str | None = None) -> Iterator[str]:
    """A new folder, `prefix` and some letters, in `parent` or the temporary folder; gone at the end.

    Raises:
        OSError: it cannot be made.
    """
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    own(folder)
    try:
        yield folder
    finally:
        disown(folder)


def files_in(folder: str) -> list[str]:
    """The names in an owned folder, without that of the lock's file."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(_OWNER))


def disown_all() -> None:
    """Remove all folders of this process, which is about to end."""
    for folder in list(_held):
        disown(folder)


def remove_abandoned(parent: str, name: str, first: Callable[[str], None] | None = None) -> list[str]:
    """Remove folders whose owner has ended without; gives those.

    Args:
        parent: in which they lie.
        name: a pattern of their names.
        first: called with each before it is removed.
    """
    removed: list[str] = []
    if fcntl is None:
        return removed
    try:
        with os.scandir(parent) as entries:
            found = [one.path for one in entries if re.fullmatch(name, one.name) and one.is_dir(follow_symlinks=False)]
    except OSError:
        return removed
    for folder in found:
        with contextlib.suppress(OSError):
            if os.stat(folder).st_uid == os.getuid() and _remove_if_abandoned(folder, first):
                removed.append(folder)
    return removed


def is_abandoned(folder: str) -> bool:
    """Whether the owner of a folder has ended, or the folder is gone; never where the file system has no locks."""
    if os.path.abspath(folder) in _held:
        return False
    try:
        handle = os.open(os.path.join(folder, _OWNER + machine()), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return True
    try:
        return fcntl is not None and _try_lock(handle)
    finally:
        os.close(handle)


def _remove_if_abandoned(folder: str, first: Callable[[str], None] | None) -> bool:
    if os.path.abspath(folder) in _held:
        return False
    file = os.path.join(folder, _OWNER + machine())
    handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if not _try_lock(handle) or not _is_that(handle, file):
            return False
        if first is not None:
            first(folder)
        return _removed(folder)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Whether the lock is ours now; never where the file system has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _removed(folder: str) -> bool:
    """Remove a folder, the lock's file last: what is killed in the midst of this is finished by the next."""
    with contextlib.suppress(OSError):
        entries = list(os.scandir(folder))
        for entry in sorted(entries, key=lambda entry: entry.name.startswith(_OWNER)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
        os.rmdir(folder)
    return not os.path.lexists(folder)


def _is_that(handle: int, file: str) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file, follow_symlinks=False))
    except OSError:
        return False


def _forget() -> None:
    """What a forked child shares with its parent is its parent's to remove."""
    global _lock
    _held.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
