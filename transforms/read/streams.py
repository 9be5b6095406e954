"""Opening inputs: local files directly, all others through Beam's file systems."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import BinaryIO, TypeVar, cast

import pyarrow as pa

COMPRESSED = (".gz", ".bz2")

T = TypeVar("T")


def is_local(path: str) -> bool:
    """Whether the path is on this machine's file system (no scheme such as `gs://`)."""
    return "://" not in path


def is_compressed(path: str) -> bool:
    """Whether the whole file is compressed, by its extension."""
    return path.lower().endswith(COMPRESSED)


def open_stream(path: str, decompress: bool = False) -> BinaryIO:
    """Open a file for reading bytes. `decompress` undoes gzip or bzip2, told by the extension."""
    decompress = decompress and is_compressed(path)
    if is_local(path) and not decompress:
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    kind = CompressionTypes.AUTO if decompress else CompressionTypes.UNCOMPRESSED
    return FileSystems.open(path, compression_type=kind)


def open_arrow(path: str) -> pa.NativeFile:
    """Open a file for pyarrow's random access; a local one is mapped into memory."""
    if is_local(path):
        return pa.memory_map(path)
    return pa.PythonFile(open_stream(path), mode="r")


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
