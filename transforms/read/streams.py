"""Opening inputs: local files directly, all others from their store."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, TypeVar, cast

import pyarrow as pa

from beamsplit.transforms.read.compression import HEAD, kind_by_name, kind_of_head, unpack

T = TypeVar("T")


def is_local(path: str) -> bool:
    """Whether the path is on this machine's file system (no scheme such as `gs://`)."""
    return "://" not in path


def is_compressed(path: str) -> bool:
    """Whether the whole file is compressed, by its first bytes; of a file elsewhere by its extension, if it has one."""
    return _compression(path) is not None


def _compression(path: str) -> str | None:
    if is_local(path):
        status = os.stat(path)
        return _kind_of_file(path, (status.st_ino, status.st_size, status.st_mtime_ns))
    named = kind_by_name(path)
    return named if named or os.path.splitext(path)[1] else _kind_of_file(path, (0, 0, 0))


@lru_cache(maxsize=1024)
def _kind_of_file(path: str, stamp: tuple[int, int, int]) -> str | None:
    with open_stream(path) as stream:
        # What is named so and does not begin so is an error when it is read.
        return kind_of_head(stream.read(HEAD)) or kind_by_name(path)


def open_stream(path: str, decompress: bool = False, size: int | None = None) -> BinaryIO:
    """Open a file for reading bytes.

    Args:
        path: local, or one with a scheme.
        decompress: whether to undo its compression, if it is compressed: an error then where it is cut or damaged.
        size: bytes that the file should have, where it is compressed.
    """
    kind = _compression(path) if decompress else None
    if kind is not None:
        return unpack(open_stream(path), kind, path, size)
    if is_local(path):
        return open(path, "rb")
    from beamsplit.transforms.stores.store import open_read

    return open_read(path)


def open_arrow(path: str) -> pa.NativeFile:
    """Open a file for pyarrow's random access.

    A local one is not mapped: where it is cut short meanwhile, that would end the process without a word.
    """
    if is_local(path):
        return pa.OSFile(path)
    from beamsplit.transforms.stores.small_files import small_content
    from beamsplit.transforms.stores.store import RANGE_BLOCK, open_read

    content = small_content(path)
    if content is not None:
        return pa.BufferReader(content)
    return pa.PythonFile(open_read(path, RANGE_BLOCK), mode="r")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items while a thread makes the next one: at most one waits. An error comes out where it arose.

    The thread ends with the generator, also when that is closed early.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue()
    room = threading.Semaphore(1)
    closed = threading.Event()

    def work() -> None:
        try:
            while True:
                room.acquire()
                if closed.is_set():
                    break
                try:
                    item = next(items)
                except StopIteration:
                    break
                ready.put((item, None, False))
            ready.put((None, None, True))
        except BaseException as error:  # it is raised again in the reader's thread
            ready.put((None, error, True))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            room.release()
            yield cast(T, item)
    finally:
        closed.set()
        room.release()
        thread.join()
        close = getattr(items, "close", None)
        if close is not None:
            close()
