"""The first rows of an input, in its order: of which files they are, and how many of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.splits import count_rows, split_file


def first_rows(files: Sequence[InputFile], format: str, most: int) -> tuple[InputFile, ...]:
    """The files that hold the first `most` rows, bad ones too; of the last it is said how many are read.

    Rows are counted no further than needed.
    """
    if FORMATS[format].files:
        return tuple(files[:most])
    return tuple(_first(files, format, most))


def _first(files: Sequence[InputFile], format: str, left: int) -> Iterator[InputFile]:
    for file in files:
        rows = 0
        # A split larger than the file: cutting a CSV file would read all of it.
        for split in split_file(file, 0, format, file.size + 1):
            rows += count_rows(replace(split, row_stop=left - rows))
            if rows >= left:
                yield replace(file, most_rows=left)
                return
        left -= rows
        yield file
