"""What CSV and JSON Lines have in common when they are written: pieces of blocks, and parts of files put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.write.rows import line_ends
from beamsplit.transforms.write.storage import open_input

CHUNK = 4 << 20
"""Bytes copied at a time."""

ENCODE_BYTES = 16 << 20
"""Bytes of a block that are turned into text at once: text is a few times larger, and must stay below 2 GB."""


def merge_text(out: Any, parts: Sequence[Rows], header: bytes = b"", quotes: bool = False) -> None:
    """Write rows of files behind one another to one, under one header, and close it.

    Args:
        out: a binary file open for writing.
        parts: of files that begin with the header.
        header: the first line.
        quotes: whether a line end in quotes ends no row.
    """
    with out:
        out.write(header)
        for source, start, stop, rows in parts:
            with open_input(source) as file:
                file.seek(len(header))
                pieces = _chunks(file) if (start, stop) == (0, rows) else _rows(file, start, stop, quotes)
                for piece in pieces:
                    out.write(piece)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(CHUNK):
        yield data


def _rows(file: BinaryIO, start: int, stop: int, quotes: bool) -> Iterator[bytes]:
    """The bytes of rows [start, stop), where row 0 begins at the file's position."""
    if start == stop:
        return
    inside, first = False, 0
    for data in _chunks(file):
        ends, inside = line_ends(data, inside, quotes)
        # Row r begins after end r - 1 - first of this chunk; rows before `first` began in earlier chunks.
        begin = 0 if start <= first else (int(ends[start - first - 1]) + 1 if start - first <= len(ends) else len(data))
        end = int(ends[stop - first - 1]) + 1 if stop - first <= len(ends) else len(data)
        yield data[begin:end]
        first += len(ends)
        if first >= stop:
            return


def pieces_of(block: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The block as parts of about `ENCODE_BYTES` bytes."""
    rows = max(1, ENCODE_BYTES * block.num_rows // max(block.nbytes, 1))
    for first in range(0, block.num_rows, rows):
        yield block.slice(first, rows)
