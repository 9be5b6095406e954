"""A piece of an input that one worker reads by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beamsplit.transforms.read.inputs import InputFile
    from beamsplit.transforms.sql.query import SqlQuery
    from beamsplit.transforms.tables.table_file import TableFile

CsvHeader = bool | tuple[str, ...] | None
"""Whether the first line of a CSV file names its columns; or their names, where that line is a row too. None: it names
them, and one that looks like a row is refused."""


@dataclass(frozen=True)
class Split:
    """One part of the input: row groups of a Parquet file, a line-aligned byte range, or a list of files.

    Splits are ordered by `order`; the rows of one split are in the order of its file.
    """

    format: str
    """The name of one of `transforms.formats.FORMATS`."""

    paths: tuple[str, ...]
    """The file; for format `files`, each path is one row."""

    order: tuple[int, int]
    """(number of the file, number of the split in it), both from 0: sorting by it gives input order."""

    start: int
    """First row group (parquet), record batch (arrow), stripe or byte (text); number of the first path (files)."""

    stop: int
    """One past the last, in the unit of `start`."""

    first_row: int | None
    """Number in its file of the split's first row; None where the rows before it were not counted."""

    rows: int | None
    """Rows in the split, `row_start`/`row_stop` not yet applied; None where nothing has counted them."""

    weight: int
    """Bytes to read, about: what progress and time left are counted in."""

    row_start: int = 0
    """Rows to skip at the start of the split (a partition may cut a split in two)."""

    row_stop: int | None = None
    """Where to stop, counted from the start of the split as `row_start` is; None reads to the end."""

    encoding: str | None = None
    """Of text that is not UTF-8: the name of Python's codec."""

    header: CsvHeader = None
    """Of a CSV file."""

    delimiter: str | None = None
    """Between the cells of a CSV file; None: as its name says."""

    table: TableFile | None = None
    """What a table tells of the file, if it is one of a table."""

    query: SqlQuery | None = None
    """What is asked of a database, if it is no file: `start` and `stop` are numbers of its ranges."""

    parts: tuple[Split, ...] = ()
    """Splits of small files that are read together, in order, if it stands for several; `paths` names the first."""

    only: bytes | None = None
    """Numbers in the file, int64 and ascending, of the rows that are wanted (`read.wanted`); None for all."""

    unsplit: InputFile | None = None
    """The file, if it is split only when it is read."""

    def origin_file(self) -> str:
        """What `_origin_file` holds for its rows: the path, and the byte that rows are counted from if it is not 0.

        Rows of a byte range in mid-file are counted from that byte (`first_row` is None); only where a row
        goes to the errors output are the lines before it counted (`absolute_origin`).
        """
        if self.first_row is None:
            return f"{self.paths[0]}#byte={self.start}"
        return self.paths[0]


_FROM_BYTE = re.compile(r"^(?P<path>.*)#byte=(?P<start>\d+)$", re.DOTALL)


def parse_origin_file(origin_file: str) -> tuple[str, int | None]:
    """Split what `Split.origin_file` made into (path, byte that rows are counted from or None)."""
    match = _FROM_BYTE.match(origin_file)
    return (match["path"], int(match["start"])) if match else (origin_file, None)
