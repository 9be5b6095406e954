"""Looks for new models in a file or a folder, on this machine or on another file system."""

from __future__ import annotations

import os
import posixpath
import stat as modes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import ModelCopy, copy_model, inner_path
from beamsplit.transforms.fetch.model_schemes import is_elsewhere, is_registered, pinned, split_digest
from beamsplit.transforms.infer.fetched_model import localize

POLL_SECONDS, REMOTE_POLL_SECONDS = 1.0, 10.0
"""Between two looks: on this machine and at file systems that are asked over the net."""

State = tuple[tuple[str, float, int], ...]
"""(path, time of the last change, bytes) of a model and of the external data that it is known to have."""


@dataclass(frozen=True)
class FoundModel:
    """A model that may be newer than the one in use."""

    path: str
    changed: float
    """When, in nanoseconds here and seconds elsewhere since 1970."""

    size: int
    """Bytes."""


def is_remote(path: str) -> bool:
    """Whether a store, a registry or the like must be asked."""
    return is_elsewhere(path)


def candidates(path: str) -> list[FoundModel]:
    """The model of a file, or the *.onnx of a folder: the one changed last first, of one time the last by name.

    Only files: a folder, a FIFO or a socket of such a name is no model, nor is a link that leads nowhere. A remote path
    is a file if it ends with `.onnx`.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = _remote(path) if is_remote(path) else _local(path)
    return sorted(found, key=lambda one: (one.changed, one.path), reverse=True)


def _local(path: str) -> list[FoundModel]:
    paths = [path]
    if os.path.isdir(path):
        names = [name for name in os.listdir(path) if name.endswith(".onnx") and not name.startswith(".")]
        paths = [os.path.join(path, name) for name in names]
    found = []
    for one in paths:
        try:
            stat = os.stat(one)
        except OSError:
            continue  # Removed, or not there yet; a link to itself, or into a folder that may not be entered.
        if modes.S_ISREG(stat.st_mode):
            found.append(FoundModel(one, stat.st_mtime_ns, stat.st_size))
    return found


def _remote(path: str) -> list[FoundModel]:
    if is_registered(path):
        # The one that the name means now; what it is, its name tells, and not when it came.
        return [FoundModel(pinned(path), 0.0, 0)]
    from beamsplit.transforms.stores.store import directly_in

    if path.endswith(".onnx"):
        return _remote_file(path)
    return [
        FoundModel(one.path, one.changed, one.size)
        for one in directly_in(path)
        if one.path.endswith(".onnx") and not posixpath.basename(one.path).startswith(".")
    ]


def state_of(candidate: FoundModel, data: Sequence[str]) -> State:
    """What changes when a model changes; `data` names its external data, as far as it is known."""
    states = [(candidate.path, candidate.changed, candidate.size)]
    for location in data:
        path = _beside(candidate.path, location)
        beside = _remote_file(path) if is_remote(path) else _local(path)
        states.append((path, beside[0].changed, beside[0].size) if beside else (path, -1.0, -1))
    return tuple(states)


def _remote_file(path: str) -> list[FoundModel]:
    if is_registered(path):
        return []
    from beamsplit.transforms.stores.store import stat

    found = stat(path)
    return [] if found is None else [FoundModel(found.path, found.changed, found.size)]


def take_copy(path: str, folder: str) -> ModelCopy:
    """Copy a model, from wherever it is, into an empty folder of this machine.

    Raises:
        OSError: it cannot be read.
    """
    if not is_remote(path) or is_registered(path) or split_digest(path)[1]:
        return copy_model(localize(path), folder)
    return copy_model(path, folder, _open_remote, _remote_data)


def _open_remote(path: str) -> BinaryIO:
    from beamsplit.transforms.stores.store import open_read

    return open_read(path)


def _remote_data(path: str, location: str) -> str:
    """Where external data lies; a file system of objects has no links that lead out of the folder."""
    place = _beside(path, inner_path(path, location))
    if not _remote_file(place):
        raise UsageError(f"{path} needs its external data {location!r}: put that file beside the model")
    return place


def _beside(path: str, location: str) -> str:
    return f"{path.rsplit('/', 1)[0]}/{location}" if is_remote(path) else os.path.join(os.path.dirname(path), location)


def check_watched(path: str) -> None:
    """Raise unless there is something to watch, or its folder at least; where it is remote, unless it can be listed.

    Raises:
        UsageError: with what to type.
    """
    fix = "name a folder, or an .onnx file in a folder that is there"
    if is_remote(path):
        try:
            candidates(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"--model_updates {path} cannot be looked at ({error}); {fix}") from error
        return
    if os.path.isdir(path):
        return
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"--model_updates {path} is neither a file nor a folder; {fix}")
    if not path.endswith(".onnx") or not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        what = "is no ONNX file" if os.path.isfile(path) else "does not exist"
        raise UsageError(f"--model_updates {path} {what}; {fix}")
