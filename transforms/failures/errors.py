"""The errors output: rows that could not be scored, with where they came from."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.failures.formats import count_errors, errors_format, write_errors_as
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.formats import JSONL
from beamsplit.transforms.split import Split, parse_origin_file
from beamsplit.transforms.write.names import check_replaceable, check_writable, temp_folder
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import open_input, open_output, remove, remove_folder, replace, size_of
from beamsplit.transforms.write.temp_file import TempFile, origin_order

CHUNK = 4 << 20
"""Bytes copied at a time."""

FLUSH_ROWS = 4096
"""Errors of a bundle that wait in memory before they are written."""


class _Failures(NamedTuple):
    """What one bundle tells of its errors."""

    file: TempFile
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


class WriteErrors(beam.PTransform):
    """PCollection[RowError] -> PCollection[str]: one JSON line an error in exactly one file, or that in another format.

    Each bundle writes a file of its own; the last step puts them together in the order of the input, with row
    numbers that count from the start of each file, and renames the result. Where there are no errors the file is
    empty. A failed job leaves an earlier file as it was: call `remove_temp(path, transform.job_id)` then.

    Args:
        path: of the file.
        line: makes the line of an error; one that is not `to_line` has its rows' numbers as they are.
        after: the file gets its name only when this is complete.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        line: Callable[[RowError], bytes] | None = None,
        after: beam.pvalue.PCollection | None = None,
    ) -> None:
        super().__init__()
        check_writable(path, "--errors")
        check_replaceable(path, "--errors")
        errors_format(path)
        self._line = line or to_line
        self._after = after
        self.job_id = uuid.uuid4().hex[:12]
        """Names the temporary folder."""
        self._path = path

    def expand(self, errors: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Wire it."""
        folder = temp_folder(self._path, self.job_id)
        write = beam.ParDo(_WriteBundle(folder, self.job_id, self._line)).with_output_types(_Failures)
        files = errors | "Write" >> write
        once = errors.pipeline | "Once" >> beam.Impulse()
        like = json.loads(self._line(RowError("topic/0", 0, "", "")))
        after = [] if self._after is None else [beam.pvalue.AsList(self._after)]
        given = (beam.pvalue.AsList(files), _Result(self._path, folder, self.job_id, like), *after)
        last = beam.Map(_finish, *given).with_output_types(str)
        return once | "Finalize" >> last


def to_line(error: RowError) -> bytes:
    """The error as one JSON line."""
    return json.dumps(error._asdict(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def merge_errors(failures: Iterable[_Failures], out: object) -> None:
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
    error = RowError(**json.loads(line))
    path, byte = parse_origin_file(error.file)
    if byte is None:
        return line
    return to_line(error._replace(file=path, row=error.row + bases[path, byte]))


@dataclass(frozen=True)
class _Result:
    """The file that all errors become."""

    path: str
    folder: str
    """Where the bundles' files are."""

    job_id: str
    like: Mapping[str, object] = field(default_factory=RowError("", 0, "", "")._asdict)
    """An error with values of the types that all have."""


def _finish(_: bytes, failures: list[_Failures], result: _Result, after: list[object] | None = None) -> str:
    """Put the errors in place; it may be run again after it was stopped anywhere.

    The bundles' files go only after the rename, so where one is missing the result must be in place already.
    """
    path, folder, job_id = result.path, result.folder, result.job_id
    if all(size_of(found.file.path) is not None for found in failures):
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
                write_errors_as(format, lines, out, result.like)
        with wanted(job_id):
            replace(merged, path)
        remove_folder(folder)
        return path
    there = 0 if size_of(path) is None else count_errors(path, errors_format(path))
    rows = sum(found.file.rows for found in failures)
    if there != rows:
        raise FileNotFoundError(
            f"files in {folder} are gone and {path} has {there} errors, not {rows}: something else writes to it"
        )
    remove_folder(folder)
    return path


class _WriteBundle(beam.DoFn):
    def __init__(self, folder: str, job_id: str, line: Callable[[RowError], bytes] = to_line) -> None:
        self._folder = folder
        self._job_id = job_id
        self._line = line
        self._path: str | None = None

    def start_bundle(self) -> None:
        self._abort()
        self._waiting: list[bytes] = []
        self._bytes: set[tuple[str, int]] = set()
        self._rows = 0
        self._last_file = ""

    def process(self, error: RowError) -> None:
        if self._path is None:
            path = f"{self._folder}/{uuid.uuid4().hex}"
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

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._path is not None:
            self._flush()
            self._file.close()
            file = TempFile(self._path, self._rows, size_of(self._path) or 0, self._order)
            self._path = None
            found = _Failures(file, frozenset(self._bytes))
            yield GlobalWindows.windowed_value_at_end_of_window(found)

    def teardown(self) -> None:
        self._abort()

    def _flush(self) -> None:
        self._file.write(b"".join(self._waiting))
        self._waiting = []

    def _abort(self) -> None:
        if self._path is not None:
            self._file.close()
            remove(self._path)
            self._path = None
