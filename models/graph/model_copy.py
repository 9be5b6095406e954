"""A model copied to a folder of its own with its external data, so that whoever writes the file does not disturb it.

The version of a model is the hash of what was copied, so what is loaded is always what the version says:

    cat m.onnx m.onnx.data | sha256sum | cut -c1-12
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.models.graph.model_file import check_model_file, external_file, external_locations

VERSION_DIGITS = 12
"""Hexadecimal digits of a version."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ModelCopy:
    """What was copied."""

    path: str
    """The model's file in the folder."""

    version: str
    """`VERSION_DIGITS` of the SHA-256 of the model and of its external data, in the order of the files' names."""

    data: tuple[str, ...] = ()
    """The files of external data, relative to the model."""

    problem: str | None = None
    """Why it cannot be loaded, in one line (it is cut short, or data is missing); None where nothing is known."""


def model_version(path: str) -> str:
    """The version of a model on this machine, as in `ModelCopy.version`.

    Raises:
        UsageError: it is no ONNX model, or its external data is missing or outside its folder.
        OSError: it cannot be read.
    """
    return content_hash(path)[:VERSION_DIGITS]


def copy_model(
    path: str,
    folder: str,
    read: Callable[[str], BinaryIO] | None = None,
    find: Callable[[str, str], str] = external_file,
) -> ModelCopy:
    """Copy a model into an empty folder; what is wrong with it is told, not raised, for it has a version all the same.

    Args:
        path: the model.
        folder: on this machine.
        read: opens a file; None opens those of this machine.
        find: where a model's external data lies that it names so; raises UsageError where it may not lie there.

    Raises:
        OSError: a file cannot be read or written.
    """
    opened = read or _open
    target = os.path.join(folder, path.replace("\\", "/").rsplit("/", 1)[-1])
    digest = hashlib.sha256()
    _copy(opened(path), target, digest)
    locations: tuple[str, ...] = ()
    problem = None
    try:
        locations = external_locations(target)
        for location in locations:
            source, copy = find(path, location), os.path.join(folder, inner_path(path, location))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            _copy(opened(source), copy, digest)
        check_model_file(target)
    except UsageError as error:
        problem = str(error).replace(target, path).removeprefix("--model ")
    return ModelCopy(target, digest.hexdigest()[:VERSION_DIGITS], locations, problem)


def inner_path(path: str, location: str) -> str:
    """The place of external data, relative to its model.

    Raises:
        UsageError: that is not in the model's folder.
    """
    if "\0" in location:
        raise UsageError(f"--model {path} names external data {location!r}, which is no file name: export it again")
    place = os.path.normpath(location.replace("\\", "/")).replace("\\", "/")
    if not location or os.path.isabs(place) or place[:1] == "/" or place[1:2] == ":" or place.split("/")[0] == "..":
        raise UsageError(
            f"--model {path} names external data {location!r} outside the model's folder: "
            "keep the weights in the model's own folder and export it with a relative location"
        )
    return place


def _open(path: str) -> BinaryIO:
    """Open a file, and nothing else: a FIFO would be waited for until somebody writes."""
    return open(path, "rb", opener=_file_only)


def _file_only(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is no file", path)
    return handle


def _copy(source: BinaryIO, target: str, digest: hashlib._Hash) -> None:
    with source, open(target, "wb") as copy:
        while data := source.read(_CHUNK):
            digest.update(data)
            copy.write(data)


def remove_copy(folder: str) -> None:
    """Remove a copy that is loaded: what is mapped of it stays as long as it is in use."""
    shutil.rmtree(folder, ignore_errors=True)
