"""The few file operations that writing needs: local files directly, all others at their store."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from types import ModuleType
from typing import Any, BinaryIO, cast

import pyarrow as pa

from beamsplit.models.errors import UsageError

_SCHEME = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")
"""How a name on another file system begins."""


def local_path(path: str) -> str | None:
    """The path on this machine, or None where the name belongs to another file system (`gs://...`)."""
    if path.startswith("file://"):
        return path[len("file://") :]
    return None if _SCHEME.match(path) else path


def _store() -> ModuleType:
    """What files of stores are read and written by, imported when a name belongs to one."""
    from beamsplit.transforms.stores import store

    return store


def open_output(path: str) -> Any:
    """A binary file to write; missing folders of a local path are made."""
    local = local_path(path)
    if local is None:
        return _store().open_write(path)
    os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
    return pa.OSFile(local, "wb")


def abort_output(file: Any) -> None:
    """Let go of an output whose content is of no use: at a store it does not become a file."""
    abort = getattr(file, "abort", None)
    if abort is not None:
        abort()


def open_input(path: str) -> BinaryIO:
    """A binary, seekable file to read, with its bytes as they are."""
    local = local_path(path)
    if local is None:
        return cast(BinaryIO, _store().open_read(path))
    return open(local, "rb")


def size_of(path: str) -> int | None:
    """Bytes of the file, None where there is none."""
    local = local_path(path)
    if local is None:
        found = _store().stat(path)
        return None if found is None else found.size
    try:
        return os.path.getsize(local)
    except FileNotFoundError:
        return None


def flush_to_disk(path: str) -> None:
    """Wait until a file that was written is safe from a machine that stops; elsewhere a file that is there is safe."""
    local = local_path(path)
    if local is None:
        return
    handle = os.open(local, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: str, data: bytes) -> None:
    """Write a small file that is there with all of its bytes, or not at all; one of that name is replaced."""
    local = local_path(path)
    if local is None:
        with open_output(path) as out:  # what is not written to its end is not there
            out.write(data)
        return
    part = f"{local}.{uuid.uuid4().hex[:8]}~"
    os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
    with open(part, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, local)


def read_whole(path: str) -> bytes | None:
    """The bytes of a small file; None where there is none."""
    if size_of(path) is None:
        return None
    with open_input(path) as file:
        return file.read()


def replace(source: str, target: str) -> None:
    """Rename a file; a file with the new name is overwritten. A store copies it, and deletes it then."""
    local_source, local_target = local_path(source), local_path(target)
    if local_source is not None and local_target is not None:
        os.makedirs(os.path.dirname(local_target) or ".", exist_ok=True)
        os.replace(local_source, local_target)
    else:
        _store().copy(source, target)
        _store().delete([source])


def remove(path: str) -> None:
    """Delete a file; none there is fine."""
    local = local_path(path)
    if local is not None:
        try:
            os.remove(local)
        except FileNotFoundError:
            return
    else:
        _store().delete([path])


def check_storable(path: str, option: str) -> None:
    """Raise unless files can be written and deleted beside a name of a store.

    Raises:
        UsageError: why not.
    """
    try:
        _store().check_writable(path)
    except UsageError as error:
        raise UsageError(f"{option} {error}") from None


def remove_folder(folder: str) -> None:
    """Delete a folder and the files in it; none there is fine."""
    local = local_path(folder)
    if local is not None:
        # A retried bundle's forgotten twin may still write into it, so a file may come or go while we delete.
        shutil.rmtree(local, ignore_errors=True)
        return
    _store().delete_below(folder)


def files_in(folder: str, prefix: str) -> list[str]:
    """The files directly in the folder (empty, or ending in a separator) whose names begin with `prefix`."""
    local = local_path(folder) if folder else "."
    if local is not None:
        try:
            entries = [entry for entry in os.scandir(local or ".") if entry.is_file()]
        except FileNotFoundError:
            return []
        return [folder + entry.name for entry in entries if entry.name.startswith(prefix)]
    found = _store().below(folder, prefix)
    return [entry.path for entry in found if "/" not in entry.path[len(folder) :]]
