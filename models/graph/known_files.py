"""Files known by what they hold: the SHA-256 of a model with its external data, which a plan says of its stages.

    cat stage-0.onnx stage-0.onnx.data | sha256sum

A process reads a file once for that, however often it asks, unless the file has changed since. hashlib lets other
threads run meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import external_file, external_locations

_CHUNK = 1 << 20

_Seen = tuple[tuple[str, int, int, int, int, int], ...]

_known: dict[_Seen, str] = {}
_lock = threading.Lock()
_MOST_KNOWN = 10_000


def content_hash(path: str) -> str:
    """SHA-256, hex, of a model on this machine and then of its external data, in the order of the files' names.

    Raises:
        UsageError: it is no ONNX model, or its external data is missing or outside its folder.
        OSError: it cannot be read.
    """
    return hash_files([path, *data_files(path)])


def data_hash(path: str) -> str:
    """The same of the external data alone; empty where a model has none."""
    files = data_files(path)
    return hash_files(files) if files else ""


def data_files(path: str) -> list[str]:
    """Where a model's external data really lies, in the order of the names that the model gives.

    Raises:
        UsageError: it is no ONNX model, or its external data is missing or outside its folder.
    """
    return [external_file(path, location) for location in external_locations(path)]


def model_hash(path: str) -> str:
    """SHA-256, hex, of a model file, as in the `model_hash` of plans; external data is not included.

    Raises:
        OSError: the file cannot be read.
    """
    return hash_files([path])


def hash_files(files: Sequence[str]) -> str:
    """SHA-256, hex, of files one behind the other.

    Raises:
        OSError: one cannot be read.
    """
    seen = _seen(files)
    with _lock:
        known = _known.get(seen)
    if known is not None:
        return known
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    for file in files:
        with open(file, "rb", buffering=0) as source:
            while size := source.readinto(buffer):
                digest.update(buffer[:size])
    found = digest.hexdigest()
    if _seen(files) == seen:
        with _lock:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[seen] = found
    return found


def _seen(files: Sequence[str]) -> _Seen:
    """What changes when a file does: who writes it can set the time of that back, but not `ctime`."""
    stats = [(file, os.stat(file)) for file in files]
    return tuple((name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)


def check_content(path: str, sha256: str) -> None:
    """Raise unless a model is the one that was saved; an empty hash is that of a file which this job made itself.

    Raises:
        UsageError: it is another one, or cannot be read.
    """
    if not sha256:
        return
    again = "save it again with python -m pipelines.plan, or copy the whole folder again"
    try:
        found = content_hash(path)
    except OSError as error:
        raise UsageError(f"the plan's file {path} cannot be read ({error.strerror}): {again}") from None
    if found != sha256:
        raise UsageError(
            f"{path} is not what the plan saved: its SHA-256 begins with {found[:12]}, and the plan says "
            f"{sha256[:12]}; {again}"
        )


def check_contents(files: Iterable[tuple[str, str]]) -> None:
    """`check_content` for several (path, hash), side by side; raises for the first that is wrong."""
    wanted = list(dict.fromkeys(files))
    with ThreadPoolExecutor(max(1, min(len(wanted), os.cpu_count() or 1))) as pool:
        for done in [pool.submit(check_content, path, sha256) for path, sha256 in wanted]:
            done.result()
