"""Files of rows that failed, as JSON lines: one a bundle, put together at the end. No Beam."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from beamsplit.transforms.failures.codes import code_of
from beamsplit.transforms.failures.formats import errors_format, write_errors_as
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.formats import JSONL
from beamsplit.transforms.split import Split, parse_origin_file
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import abort_output, open_input, open_output, remove, size_of
from beamsplit.transforms.write.temp_file import TempFile, origin_order

CHUNK = 4 << 20
"""Bytes copied at a time."""

FLUSH_ROWS = 4096
"""Errors of a bundle that wait in memory before they are written."""


class FailedRows(NamedTuple):
    """What one bundle tells of its errors."""

    file: TempFile
    """Its file: a JSON line an error."""

    bytes: frozenset[tuple[str, int]]
    """(path, byte) from which rows were counted."""


def row_bases(
    origins: Iterable[tuple[str, int]], known: Mapping[tuple[str, int], int] | None = None
) -> dict[tuple[str, int], int]:
    """The number of the first row at each (path, byte); each file is read once, as far as its last byte.

    Those are files of JSON Lines, whatever their names: rows of CSV are counted when a file is split. Rows are lines
    that are not blank. A file is read from the last byte before them whose number is `known`.
    """
    from beamsplit.transforms.read.splits import count_rows

    by_path: dict[str, set[int]] = {}
    for path, byte in origins:
        by_path.setdefault(path, set()).add(byte)
    bases = {}
    for path, found in by_path.items():
        before = [(byte, rows) for (name, byte), rows in (known or {}).items() if name == path and byte <= min(found)]
        begin, rows = max(before) if before else (0, 0)
        for byte in sorted(found):
            if byte > begin:
                rows += count_rows(Split(JSONL.name, (path,), (0, 0), begin, byte, None, None, byte - begin))
                begin = byte
            bases[path, byte] = rows
    return bases


def absolute_origin(file: str, row: int) -> tuple[str, int]:
    """(path, row number in the whole file, from 0) of a row; reads the file where rows are counted from a byte.

    >>> absolute_origin("data/a.parquet", 7)
    ('data/a.parquet', 7)
    """
    path, byte = parse_origin_file(file)
    return (path, row) if byte is None else (path, row + row_bases([(path, byte)])[path, byte])


def to_line(error: RowError) -> bytes:
    """The error as one JSON line.

    >>> to_line(RowError("a.csv", 7, "read", "x is no int64"))
    b'{"file": "a.csv", "row": 7, "stage": "read", "code": "unreadable", "reason": "x is no int64"}\\n'
    """
    told = {
        "file": error.file,
        "row": error.row,
        "stage": error.stage,
        "code": code_of(error.stage, error.reason),
        "reason": error.reason,
    }
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def of_line(line: bytes) -> RowError:
    """The error of a line that `to_line` made."""
    told = json.loads(line)
    return RowError(*(told[name] for name in RowError._fields))


def merge_errors(failures: Iterable[FailedRows], out: object) -> None:
    """Write the errors of all bundles to a binary file, with row numbers of whole files.

    Bundles come in input order, by their first error; inside a bundle errors come as they were found.
    """
    ordered = sorted(failures, key=lambda found: (found.file.order, found.file.path))
    bases = row_bases({origin for found in ordered for origin in found.bytes})
    for found in ordered:
        with open_input(found.file.path) as file:
            if not found.bytes:
                while data := file.read(CHUNK):
                    out.write(data)  # type: ignore[attr-defined]
                continue
            for line in file:
                out.write(_absolute_line(line, bases))  # type: ignore[attr-defined]


def _absolute_line(line: bytes, bases: dict[tuple[str, int], int]) -> bytes:
    error = of_line(line)
    path, byte = parse_origin_file(error.file)
    if byte is None:
        return line
    return to_line(error._replace(file=path, row=error.row + bases[path, byte]))


class ErrorLines:
    """The errors of one bundle in a file of their own, made with the first of them.

    Args:
        new_path: names the file.
        job_id: of the job, which may be given up.
        line: makes the line of an error.
    """

    def __init__(
        self, new_path: Callable[[], str], job_id: str, line: Callable[[RowError], bytes] | None = None
    ) -> None:
        self._new_path, self._job_id, self._line = new_path, job_id, line or to_line
        self._path: str | None = None
        self._waiting: list[bytes] = []
        self._bytes: set[tuple[str, int]] = set()
        self._rows = 0
        self._last_file = ""

    def add(self, error: RowError) -> None:
        """Take in one more.

        Raises:
            RuntimeError: the job was given up.
        """
        if self._path is None:
            path = self._new_path()
            with wanted(self._job_id):
                self._file = open_output(path)
            self._path = path
            self._order = origin_order(error.file, error.row)
        if error.file != self._last_file:
            path, byte = parse_origin_file(error.file)
            if byte is not None:
                self._bytes.add((path, byte))
            self._last_file = error.file
        self._waiting.append(self._line(error))
        self._rows += 1
        if len(self._waiting) == FLUSH_ROWS:
            self._flush()

    def close(self) -> FailedRows | None:
        """Finish the file; None where there were no errors."""
        if self._path is None:
            return None
        self._flush()
        self._file.close()
        file = TempFile(self._path, self._rows, size_of(self._path) or 0, self._order)
        self._path = None
        return FailedRows(file, frozenset(self._bytes))

    def abort(self) -> None:
        """Delete what is not finished."""
        if self._path is not None:
            abort_output(self._file)
            self._file.close()
            remove(self._path)
            self._path = None

    def _flush(self) -> None:
        self._file.write(b"".join(self._waiting))
        self._waiting = []


def write_merged(
    failures: Iterable[FailedRows],
    path: str,
    folder: str,
    job_id: str,
    like: Mapping[str, object] | None = None,
) -> str:
    """Write the errors of all bundles to one file in the temporary folder; its name there.

    Args:
        failures: what the bundles wrote.
        path: what the file will be called: its extension tells the format.
        folder: the temporary folder.
        job_id: of the job, which may be given up.
        like: an error as the lines have it: names and types of the columns; None: as `to_line` makes them.

    Raises:
        RuntimeError: the job was given up.
    """
    merged = f"{folder}/{uuid.uuid4().hex}"
    with wanted(job_id):
        out = open_output(merged)
    with out:
        merge_errors(failures, out)
    format = errors_format(path)
    if format != JSONL.name:
        lines, merged = merged, f"{folder}/{uuid.uuid4().hex}"
        with wanted(job_id):
            out = open_output(merged)
        with out:
            write_errors_as(format, lines, out, like or json.loads(to_line(RowError("", 0, "", ""))))
    return merged
