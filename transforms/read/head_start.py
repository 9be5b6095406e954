"""Reads the first blocks of a job while the rest of it is still being set up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.formats.interfaces import EarlyReader
from beamsplit.transforms.read import started
from beamsplit.transforms.read.derived import of_files
from beamsplit.transforms.read.result import ReadOptions
from beamsplit.transforms.read.splits import read_anew
from beamsplit.transforms.split import Split

MOST_BYTES = 128 << 20
"""Most bytes that wait, of all workers together."""


@contextlib.contextmanager
def head_start(splits: Sequence[Split], options: ReadOptions, workers: int) -> Iterator[None]:
    """While the block of code inside runs, a thread decodes where each worker will begin to read.

        this thread    import Beam, build, translate | read ...
        the other one  decode 0  1  0  1  0  1       |

    Decoding holds no lock of Python's, so a second core does it. A worker whose range begins within a row group
    finds what lies before it decoded and dropped. Readers in this process take what is there, wherever it stands.
    Formats without decoders of their own are read as the worker would read them.

    Args:
        splits: as they are dealt: the first `workers` of them are the beginnings of the workers' ranges.
        options: what the readers will be asked for; with other columns they take nothing of this.
        workers: how many read at a time.
    """
    first = [split for split in splits[:workers] if _has_decoders(split)]
    others = [_of_worker(splits[worker::workers], options) for worker in range(workers)] if not first else []
    some = [one for one in others if one is not None]
    if not first and not some:
        yield
        return
    for one in some:
        started.start(one)
    stop = threading.Event()
    thread = threading.Thread(target=_decode, args=(first, some, options, stop), name="head-start", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        started.forget(some)
        for format in {split.format for split in first}:
            _reader(format).forget_decoders()


def _has_decoders(split: Split) -> bool:
    return FORMATS[split.format].begun_early and split.table is None and not split.parts and split.unsplit is None


def _of_worker(splits: Sequence[Split], options: ReadOptions) -> started.StartedSplits | None:
    """What reads a worker's splits ahead, where that is more than to fetch bytes."""
    read = [split for split in splits if not (FORMATS[split.format].files or FORMATS[split.format].by_scheme)]
    return started.StartedSplits(read, options, read_anew) if read else None


def _reader(format: str) -> EarlyReader:
    return cast(EarlyReader, FORMATS[format].reader)


def _decode(
    splits: Sequence[Split], some: Sequence[started.StartedSplits], options: ReadOptions, stop: threading.Event
) -> None:
    # A file that cannot be read is found by the reader too, which knows how to tell.
    with contextlib.suppress(pa.ArrowException, OSError):
        asked = of_files(options)
        left = [decoder for split in splits for decoder in _reader(split.format).start_decoders(split, asked)]
        for decoder in left:
            # Where the next worker begins.
            begins = [other.begin for other in left if other.group == decoder.group and other.begin > decoder.begin]
            decoder.end = min([decoder.rows, *begins])
        _in_turn([*left, *some], stop)


def _in_turn(left: list[Any], stop: threading.Event) -> None:
    waiting = 0
    while left and waiting < MOST_BYTES and not stop.is_set():
        # Whoever has least.
        decoder = min(left, key=lambda one: one.ahead)
        size = decoder.decode_ahead()
        if size is None:
            left.remove(decoder)
        else:
            waiting += size
