"""Brings a model that lies elsewhere to this machine.

CACHE/models/HASH OF THE REMOTE FOLDER/files/m.onnx         and its external data
                                       known/m.onnx.json    what it was there, and is here
                                       lock                 one process fetches at a time
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import check_content, content_hash, hash_files
from beamsplit.models.graph.model_copy import inner_path
from beamsplit.models.graph.model_file import external_locations
from beamsplit.models.user_cache import private_folder
from beamsplit.transforms.fetch.model_schemes import ModelPlace, is_elsewhere, pinned, scheme_of, split_digest

_PART = ".part-"
"""Begins the names of files that are still written."""


def localize(path: str, sha256: str = "") -> str:
    """A local path for a model: itself, or a copy of a remote one, fetched again only when it has changed there.

    Args:
        path: of the model; its external data lies beside it.
        sha256: what the model holds, as `models.graph.known_files.content_hash` gives it; empty where nobody knows.

    Raises:
        UsageError: there is no such file, it holds something else, its file system needs an extra that is not
            installed, or the folder that keeps copies is not this user's alone.
    """
    if not is_elsewhere(path):
        check_content(path, sha256)
        return path
    from filelock import FileLock

    name, digest = split_digest(pinned(path))
    place = scheme_of(name).place()
    remote, file = place.place(name)
    if digest and (kept := _kept(remote, file, digest)):
        check_content(kept, sha256)
        return kept
    folder = _folder_of(f"{remote}#{digest}" if digest else remote)
    target = os.path.join(folder, "files", file)
    try:
        for one in ("files", "known"):
            os.makedirs(os.path.join(folder, one), mode=0o700, exist_ok=True)
        with FileLock(os.path.join(folder, "lock")):
            _remove_parts(os.path.join(folder, "files"))
            _fetch(place, remote, folder, file)
            data = [inner_path(path, location) for location in external_locations(target)]
            for inner in data:
                _fetch(place, remote, folder, inner)
            if digest and (found := content_hash(target)) != digest:
                for inner in (file, *data):
                    os.unlink(os.path.join(folder, "files", inner))
                raise UsageError(
                    f"--model {name} is another model: its SHA-256 begins with {found[:12]}, and the name says "
                    f"{digest[:12]}; ask whoever changed it, or correct the digest"
                )
    except UsageError as error:
        raise UsageError(f"the model {error}" if str(error).startswith(remote) else str(error)) from None
    except OSError as error:
        raise UsageError(f"the model {path} cannot be kept in {folder} ({error.strerror}): make room there") from None
    check_content(target, sha256)
    return target


def with_digest(path: str, local: str) -> str:
    """The name by which workers get the very model that `localize(path)` gave here, or an error."""
    if not is_elsewhere(path) or split_digest(path)[1]:
        return path
    return f"{path}#sha256={content_hash(local)}"


def _kept(remote: str, file: str, digest: str) -> str | None:
    """A copy that is known to hold this: nobody has to be asked, who may be away meanwhile."""
    for known_by in (f"{remote}#{digest}", remote):
        target = os.path.join(_folder_of(known_by), "files", file)
        # As it is written, and its data: what is not whole is none.
        with contextlib.suppress(OSError, UsageError):
            if content_hash(target) == digest:
                return target
    return None


def _folder_of(known_by: str) -> str:
    return os.path.join(_folder(), hashlib.sha256(known_by.encode()).hexdigest()[:16])


def _folder() -> str:
    try:
        return private_folder("models")
    except OSError:
        # No home, or one that cannot be written: workers in containers have such.
        return _of_this_process()


@functools.cache
def _of_this_process() -> str:
    folder = tempfile.mkdtemp(prefix="beamsplit-models-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _fetch(place: ModelPlace, remote: str, folder: str, inner: str) -> None:
    """Bring one file up to date.

    Raises:
        UsageError: it cannot be read.
        OSError: it cannot be written.
    """
    target, known = os.path.join(folder, "files", inner), os.path.join(folder, "known", f"{inner}.json")
    state = ["fixed"] if place.FIXED else place.state(remote, inner)
    path = f"{remote}/{inner}"
    if state is not None and _reads(known) == {"path": path, "state": state, "sha256": _hash_of(target)}:
        return
    for one in (target, known):
        os.makedirs(os.path.dirname(one), mode=0o700, exist_ok=True)
    with _part(target) as part:
        place.copy(remote, inner, part)
    _write(known, json.dumps({"path": path, "state": state, "sha256": _hash_of(target)}))


def _hash_of(file: str) -> str | None:
    try:
        return hash_files([file])
    except OSError:
        return None


def _reads(file: str) -> object:
    try:
        with open(file, encoding="utf-8") as source:
            return json.loads(source.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return None  # Not there, or damaged: it is fetched again.


def _write(target: str, text: str) -> None:
    with _part(target) as part, open(part, "w", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def _part(target: str) -> Iterator[str]:
    """A file beside the target that takes its place at the end, if nothing went wrong."""
    handle, part = tempfile.mkstemp(prefix=_PART, dir=os.path.dirname(target))
    os.close(handle)
    try:
        yield part
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _remove_parts(folder: str) -> None:
    """Those of processes that were killed: nobody else writes here now."""
    for at, _, names in os.walk(folder):
        for name in names:
            if name.startswith(_PART):
                os.unlink(os.path.join(at, name))
