"""Several files behind one another in one, as `cat a.parquet b.parquet` makes them.

Readers begin at the end, where a footer tells where all lies, and would read the last file only, or its rows in the
bytes of the first:

    PAR1 rows of a | footer of a PAR1 PAR1 rows of b | footer of b PAR1
                   |<- where b begins: a gap between what its footer tells and the footer itself

A gap alone is nothing: indexes, filters and padding lie there, of which the footer tells too, or nobody.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.read.arrow_batch import footer_blocks
from beamsplit.transforms.read.compression import DamagedFile

_PARQUET = b"PAR1"
_ARROW = b"ARROW1"

LONGEST_SEARCH = 16 << 20
"""Bytes that are searched for the end of a file before, where a footer does not tell how much lies before it."""


def check_one_parquet(source: pa.NativeFile, meta: pq.FileMetaData, path: str) -> None:
    """Raise if a whole Parquet file lies before the one whose footer this is.

    Args:
        source: the file, open.
        meta: what its last footer says.
        path: for the error.

    Raises:
        DamagedFile: one does.
    """
    size = source.size()
    (length,) = struct.unpack("<I", _read(source, size - 8, 4))
    footer = size - 8 - length
    gap = footer - _end_of_rows(meta)
    if gap < 12:
        return
    mark = _PARQUET * 2
    if _read(source, gap - 4, 8) == mark:
        found = gap
    else:
        # What else lies there makes the gap larger: the file before is as long, or shorter.
        begin = max(0, gap - 4 - LONGEST_SEARCH)
        at = _read(source, begin, gap + 4 - begin).rfind(mark)
        if at < 0:
            return
        found = begin + at + 4
    (before,) = struct.unpack("<I", _read(source, found - 8, 4))
    if not 0 < before <= found - 12:
        return
    try:
        pq.read_metadata(pa.BufferReader(_PARQUET + _read(source, found - 8 - before, before + 8)))
    except (pa.ArrowException, OSError):
        return
    _refuse(path, "Parquet", found)


def _end_of_rows(meta: pq.FileMetaData) -> int:
    """Where the last row group ends, by its footer."""
    if not meta.num_row_groups:
        return len(_PARQUET)
    group = meta.row_group(meta.num_row_groups - 1)
    return max(map(_end_of_column, (group.column(at) for at in range(group.num_columns))), default=len(_PARQUET))


def _end_of_column(column: pq.ColumnChunkMetaData) -> int:
    pages = [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else [])]
    return int(min(page for page in pages if page is not None)) + int(column.total_compressed_size)


def check_one_arrow(source: pa.NativeFile, path: str) -> None:
    """Raise if a whole Arrow IPC file lies before the one whose footer ends this one.

    Raises:
        DamagedFile: one does.
    """
    size = source.size()
    (length,) = struct.unpack("<i", _read(source, size - 10, 4))
    footer = size - 10 - length
    if length <= 0 or footer <= 0:
        return  # Arrow's own reader tells.
    try:
        blocks = footer_blocks(_read(source, footer, length))
    except struct.error:
        return
    mark = _ARROW * 2 + b"\0\0"
    if blocks:
        end = max(block.start + block.metadata + block.body for block in blocks)
        # A mark of 8 bytes ends the batches; writers before Arrow 0.15 wrote 4 or none.
        places: Iterable[int] = (footer - end - marked for marked in (8, 4, 0))
    else:
        begin = max(0, footer - (1 << 20))
        text = _read(source, begin, footer - begin)
        places = (begin + found.start() + len(_ARROW) for found in re.finditer(mark, text))
    for at in places:
        if at > 20 and _read(source, at - 6, 14) == mark and _is_arrow_end(source, at):
            _refuse(path, "Arrow", at)


def _is_arrow_end(source: pa.NativeFile, at: int) -> bool:
    (length,) = struct.unpack("<i", _read(source, at - 10, 4))
    if not 0 < length <= at - 18:
        return False
    try:
        footer_blocks(_read(source, at - 10 - length, length))
    except struct.error:
        return False
    return True


def _refuse(path: str, kind: str, at: int) -> None:
    raise DamagedFile(
        f"{path} is several {kind} files behind one another (the last begins at byte {at:,}), of which only that one "
        "would be read; give each a file, or write one file of all rows"
    )


def _read(source: pa.NativeFile, at: int, size: int) -> bytes:
    source.seek(at)
    return bytes(source.read(size))
