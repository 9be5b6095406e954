"""The few file operations that writing needs: local files directly, all others through Beam's file systems."""

from __future__ import annotations

import os
import shutil
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems


def local_path(path: str) -> str | None:
    """The path on this machine, or None where the name belongs to another file system (`gs://...`)."""
    scheme = FileSystems.get_scheme(path)
    if scheme is None:
        return path
    return path[len("file://") :] if scheme == "file" else None


def open_output(path: str) -> Any:
    """A binary file to write; missing folders of a local path are made."""
    local = local_path(path)
    if local is None:
        return FileSystems.create(path, "application/octet-stream", CompressionTypes.UNCOMPRESSED)
    os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
    return pa.OSFile(local, "wb")


def open_input(path: str) -> BinaryIO:
    """A binary, seekable file to read, with its bytes as they are."""
    local = local_path(path)
    if local is None:
        return FileSystems.open(path, "application/octet-stream", CompressionTypes.UNCOMPRESSED)
    return open(local, "rb")


def size_of(path: str) -> int | None:
    """Bytes of the file, None where there is none."""
    local = local_path(path)
    if local is None:
        return FileSystems.get_filesystem(path).metadata(path).size_in_bytes if FileSystems.exists(path) else None
    try:
        return os.path.getsize(local)
    except FileNotFoundError:
        return None


def replace(source: str, target: str) -> None:
    """Rename a file; a file with the new name is overwritten."""
    local_source, local_target = local_path(source), local_path(target)
    if local_source is not None and local_target is not None:
        os.makedirs(os.path.dirname(local_target) or ".", exist_ok=True)
        os.replace(local_source, local_target)
    else:
        FileSystems.rename([source], [target])


def remove(path: str) -> None:
    """Delete a file; none there is fine."""
    local = local_path(path)
    if local is not None:
        try:
            os.remove(local)
        except FileNotFoundError:
            return
    elif FileSystems.exists(path):
        FileSystems.delete([path])


def remove_folder(folder: str) -> None:
    """Delete a folder and the files in it; none there is fine."""
    local = local_path(folder)
    if local is not None:
        # A retried bundle's forgotten twin may still write into it, so a file may come or go while we delete.
        shutil.rmtree(local, ignore_errors=True)
        return
    files = [found.path for found in FileSystems.match([f"{folder}/*"])[0].metadata_list]
    if files:
        FileSystems.delete(files)


def files_in(folder: str, prefix: str) -> list[str]:
    """The files directly in the folder (empty, or ending in a separator) whose names begin with `prefix`."""
    local = local_path(folder) if folder else "."
    if local is not None:
        try:
            entries = [entry for entry in os.scandir(local or ".") if entry.is_file()]
        except FileNotFoundError:
            return []
        return [folder + entry.name for entry in entries if entry.name.startswith(prefix)]
    found = FileSystems.match([f"{folder}{prefix}*"])[0].metadata_list
    return [entry.path for entry in found if "/" not in entry.path[len(folder) :]]
