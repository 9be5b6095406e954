"""Some rows of files, known by their numbers: of each file only the pieces are read that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.splits import count_rows, make_splits, slice_split, split_file
from beamsplit.transforms.split import Split

PIECE_BYTES = 16 << 20
"""Of a file, about: a row group that is larger is decoded once for each piece of it."""


def wanted_splits(inputs: Sequence[InputFile], format: str, wanted: Mapping[str, bytes]) -> list[Split]:
    """Splits with the rows that are wanted, in input order.

        rows 3, 7, 250 of       0 ........ 100 ........ 200 ........ 300
        pieces of the file      |3  to  7|             |250|

    Args:
        inputs: the files.
        format: of all of them.
        wanted: path -> numbers of rows, int64, ascending, each once; every path is among the inputs.

    Raises:
        UsageError: a file has fewer rows.
    """
    if FORMATS[format].files:
        named = [file for file in inputs if file.path in wanted]
        return make_splits(named, format, len(named))
    return [
        split
        for at, file in enumerate(inputs)
        if file.path in wanted
        for split in _of_file(file, at, format, np.frombuffer(wanted[file.path], np.int64))
    ]


def _of_file(file: InputFile, at: int, format: str, rows: np.ndarray) -> Iterator[Split]:
    counted = 0
    for split in split_file(file, at, format, PIECE_BYTES):
        # Rows of text are numbered from the byte where a piece begins: the lines before it were counted just now.
        base = counted if split.first_row is None else split.first_row + split.row_start
        if base > rows[-1]:
            return
        counted = base + count_rows(split)
        inside = rows[(rows >= base) & (rows < counted)]
        if len(inside):
            piece = slice_split(split, int(inside[0]) - base, int(inside[-1]) - base + 1)
            first = base if split.first_row is None else split.first_row
            yield replace(piece, first_row=first, only=inside.tobytes())
    if counted <= rows[-1]:
        missing = int(np.count_nonzero(rows >= counted))
        raise UsageError(
            f"{file.path} has {counted:,} rows, and {missing:,} that failed are beyond them, the last row {rows[-1]}: "
            "it is another file than the job read; replay the errors of a job that read this one"
        )
