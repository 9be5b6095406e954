"""What is done with the files of a store. All names are whole: `s3://bucket/key`.

A file is seen once it is written to its end, whole, and is never seen otherwise; there are no folders, and no renames.
Requests that fail at the server (500, 503 SlowDown) or on their way (cut connections) are made again; what the store
refuses (403, 404) is not.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from beamsplit.transforms.stores.schemes import Scheme, store_of
from beamsplit.transforms.stores.store_errors import NotThere, StoreError, told

T = TypeVar("T")

STREAM_BLOCK = 8 << 20
"""Bytes of one request where a file is read from end to end."""

RANGE_BLOCK = 1 << 20
"""Where it is read in places: what is asked for, and so many more bytes."""

AT_ONCE = 32
"""Requests at a time."""


@dataclass(frozen=True)
class Stored:
    """A file that is there."""

    path: str
    size: int
    """In bytes."""

    changed: float
    """Seconds since 1970."""

    version: str
    """Another one when the content is another: S3's ETag, Google's generation."""


def stat(path: str) -> Stored | None:
    """What is known of one file; None where there is none."""
    scheme, fs, key = _opened(path, "looked at")
    try:
        with told(scheme, path, "looked at"):
            found = fs.info(key)
    except NotThere as error:
        if "no bucket" in str(error):
            raise
        return None
    return _stored(path, found) if found["type"] == "file" else None


def below(folder: str, begins: str = "") -> list[Stored]:
    """All files below a folder, at any depth, whose names in it begin so: a request for each 1,000.

    A folder that does not exist has none.
    """
    folder = folder.rstrip("/")
    scheme, fs, key = _opened(folder, "listed")
    try:
        with told(scheme, folder, "listed"):
            found = fs.find(key, detail=True, prefix=begins) if begins else fs.find(key, detail=True)
    except NotThere as error:
        if "no bucket" in str(error):
            raise
        return []
    head = folder.partition("://")[0] + "://"
    files = (_stored(head + name, one) for name, one in found.items() if one["type"] == "file")
    # What stands for a folder ends in /; of a file of the folder's own name nothing is below it.
    return sorted(
        (one for one in files if one.path.startswith(f"{folder}/{begins}") and one.path[-1] != "/"), key=_path
    )


def directly_in(folder: str) -> list[Stored]:
    """The files of a folder, without those of folders in it."""
    folder = folder.rstrip("/")
    scheme, fs, key = _opened(folder, "listed")
    try:
        with told(scheme, folder, "listed"):
            found = fs.ls(key, detail=True)
    except NotThere as error:
        if "no bucket" in str(error):
            raise
        return []
    head = folder.partition("://")[0] + "://"
    files = (_stored(head + one["name"], one) for one in found if one["type"] == "file")
    return sorted((one for one in files if one.path.startswith(f"{folder}/") and one.path[-1] != "/"), key=_path)


_MAGIC = re.compile(r"[*?[]")


def matching(pattern: str) -> list[Stored]:
    """The files that a glob matches, as on this machine: `*` and `?` stay within a folder, `**` does not."""
    from fsspec.utils import glob_translate

    fits = re.compile(glob_translate(pattern))
    at = _MAGIC.search(pattern)
    place = at.start() if at else len(pattern)
    folder = pattern[:place].rpartition("/")[0]
    if "://" not in folder:
        raise StoreError(f"{pattern}: a bucket is named without * and ?; write s3://BUCKET/...")
    name = pattern[len(folder) + 1 :]
    found = (
        directly_in(folder) if "/" not in name and "**" not in name else below(folder, pattern[len(folder) + 1 : place])
    )
    return [one for one in found if fits.match(one.path)]


def read_all(path: str) -> bytes:
    """The content of a file."""
    scheme, fs, key = _opened(path, "read")
    with told(scheme, path, "read"):
        return cast(bytes, fs.cat_file(key))


def read_each(paths: Sequence[str]) -> list[bytes | StoreError]:
    """The contents of files of one store, fetched side by side; what is wrong in place of a content."""
    return list(each(_read_or_error, paths))


def _read_or_error(path: str) -> bytes | StoreError:
    try:
        return read_all(path)
    except StoreError as error:
        return error


def each(do: Callable[..., T], *items: Sequence[Any]) -> list[T]:
    """What `do` gives for each of the items, several requests at a time; the first error, if there is one."""
    # fsspec's own functions for lists take names for patterns: `a[1].csv` is the file `a1.csv`.
    with ThreadPoolExecutor(max(1, min(AT_ONCE, len(items[0])))) as pool:
        return list(pool.map(do, *items))


def open_read(path: str, block: int = STREAM_BLOCK) -> BinaryIO:
    """A file to read, seekable; the version that it has now, or an error."""
    from beamsplit.transforms.stores.open_file import Input

    scheme, fs, key = _opened(path, "read")
    with told(scheme, path, "read"):
        inner = fs.open(key, "rb", block_size=block, cache_type="readahead")
    return cast(BinaryIO, Input(inner, scheme, path))


def open_write(path: str) -> BinaryIO:
    """A file to write, which is there once it is closed; left by an error, or aborted, it is not."""
    from beamsplit.transforms.stores.open_file import Output

    scheme, fs, key = _opened(path, "written")
    with told(scheme, path, "written"):
        return cast(BinaryIO, Output(fs, key, scheme, path))


def copy(source: str, target: str) -> None:
    """Copy a file to another name, at the store itself; the new one is there at once, whole."""
    scheme, fs, key = _opened(source, "copied")
    with told(scheme, source, "copied"):
        fs.cp_file(key, store_of(target)[1])


def delete(paths: Iterable[str]) -> None:
    """Delete files; some may be gone."""
    each(_delete_one, list(paths))


def _delete_one(path: str) -> None:
    scheme, fs, key = _opened(path, "deleted")
    try:
        with told(scheme, path, "deleted"):
            fs.rm_file(key)
    except NotThere:
        return


def delete_below(folder: str) -> None:
    """Delete all files below a folder, and end what is still being written there."""
    scheme, fs, key = _opened(folder, "deleted")
    delete(one.path for one in below(folder))
    with told(scheme, folder, "deleted"):
        scheme_module(scheme).abort_uploads(fs, key.rstrip("/") + "/")


def scheme_module(scheme: Scheme) -> Any:
    """The module of a store."""
    from importlib import import_module

    return import_module(scheme.module)


def check_writable(path: str) -> None:
    """Raise unless files can be written and deleted beside `path`; leaves nothing.

    Raises:
        StoreError: why not.
    """
    folder, _, name = path.rpartition("/")
    probe = f"{folder}/.{name}-check-{uuid.uuid4().hex[:12]}"
    with open_write(probe) as file:
        file.write(b"May files be written here? If you read this, they may not be deleted.\n")
    delete([probe])


def _opened(path: str, doing: str) -> tuple[Scheme, Any, str]:
    scheme, key = store_of(path)
    with told(scheme, path, doing):
        return scheme, scheme.file_system(), key


def _stored(path: str, found: dict[str, Any]) -> Stored:
    changed: Any = found.get("LastModified") or found.get("mtime") or found.get("created") or 0
    seconds = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
    version = found.get("generation") or found.get("ETag") or f"{found['size']}@{seconds}"
    return Stored(path, int(found["size"]), seconds, str(version))


def _path(one: Stored) -> str:
    return one.path
