"""Small files of a store, whose whole content one request brings, for the several times that a job opens each.

             large                           small
open         HEAD, then ranges               GET of 128 kB: all of it
open again   HEAD, then ranges               no request

Contents are forgotten whenever files are looked for (`forget`): what a job reads is at least as new as what it found,
and what changed since then is told at its end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from beamsplit.transforms.stores.schemes import store_of
from beamsplit.transforms.stores.store_errors import StoreError, told

SMALL_BYTES = 128 << 10
"""A file of fewer is small."""

KEPT_BYTES = 64 << 20
"""Of contents that are kept in a process."""


class _Kept:
    def __init__(self) -> None:
        self._contents: OrderedDict[str, bytes | None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> tuple[bool, bytes | None]:
        """(whether the file was asked for, its content; None of a large one)."""
        with self._lock:
            return path in self._contents, self._contents.get(path)

    def put(self, path: str, content: bytes | None) -> None:
        """Keep it, and drop the oldest where there are too many."""
        with self._lock:
            self._bytes += _size(content) - _size(self._contents.pop(path, None))
            self._contents[path] = content
            while self._bytes > KEPT_BYTES:
                self._bytes -= _size(self._contents.popitem(last=False)[1])


_kept = _Kept()


def forget() -> None:
    """Read anew what is opened from now on."""
    global _kept
    _kept = _Kept()


def small_content(path: str) -> bytes | None:
    """The content of the file, if it is small; None of another, which is opened as any."""
    kept = _kept  # what is asked for now does not count where it is forgotten meanwhile
    known, content = kept.get(path)
    if not known:
        content = _begin(path)
        kept.put(path, content)
    return content


def _begin(path: str) -> bytes | None:
    """The content, of which the first bytes are all."""
    scheme, key = store_of(path)
    try:
        with told(scheme, path, "read"):
            content = bytes(scheme.file_system().cat_file(key, start=0, end=SMALL_BYTES))
    except (StoreError, ValueError):
        # An empty file has no such range; what else is wrong, opening it tells.
        return None
    return content if len(content) < SMALL_BYTES else None


def _size(content: bytes | None) -> int:
    return 512 + (0 if content is None else len(content))
