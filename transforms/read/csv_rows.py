"""CSV: byte ranges that hold whole rows, parsed by pyarrow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import lines
from beamsplit.transforms.read.csv_again import without_names
from beamsplit.transforms.read.csv_cells import null_cells, parse, parse_cells
from beamsplit.transforms.read.csv_header import delimiter_of, header
from beamsplit.transforms.read.encoding import (
    bytes_as_letters,
    is_utf8,
    is_wide,
    open_text,
    recode,
)
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult, lacks, no_rows, read_runs
from beamsplit.transforms.read.streams import is_compressed, open_stream
from beamsplit.transforms.read.text_counts import enough, judged
from beamsplit.transforms.read.together import Text
from beamsplit.transforms.split import Split


def schema(file: InputFile, head: int) -> pa.Schema | None:
    """Names from the first line or as given, types as the first `head` bytes suggest; None of an empty file.

    A column without any value yet is of type null. One of which a number would lose something is taken for strings:
    leading zeros (`00123`), a plus, or digits of a whole number that is too large.

    Raises:
        UsageError: as `header`, or most rows have another number of cells than names are given.
    """
    path, given = file.path, file.header
    names, start = header(path, file.encoding, given, file.delimiter)
    if not names:
        return None
    from pyarrow import csv

    delimiter = delimiter_of(path, file.delimiter)
    with open_text(path, file.encoding) as stream:
        skip(stream, start)
        run = recode(next(lines.runs(stream, None, lines.csv_end(delimiter), head), b""), file.encoding)
    if not run.strip(b"\r\n"):
        return pa.schema([pa.field(name, pa.null()) for name in names])
    if not is_utf8(run):
        run = bytes_as_letters(run)
    others: Counter[int] = Counter()

    def note(row: csv.InvalidRow) -> str:
        others[row.actual_columns] += 1
        return "skip"

    try:
        table = csv.read_csv(
            pa.BufferReader(run),
            read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=len(run) + 1),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            convert_options=csv.ConvertOptions(null_values=null_cells(floats=True)),
        )
    except pa.ArrowInvalid:
        return pa.schema([pa.field(name, pa.string()) for name in names])
    cells, rows = max(others.items(), key=lambda item: item[1], default=(0, 0))
    if isinstance(given, tuple) and rows > table.num_rows:
        apart = "s a row, and" if cells > 1 else f" a row, as cells are apart by {delimiter!r}, and"
        raise UsageError(
            f"{path} has {cells} cell{apart} --csv_header names {len(given)} ({', '.join(given)[:60]}): name each "
            "column of the file, in its order"
        )
    # Text that is not UTF-8 is taken for bytes: it is text of which some rows cannot be read.
    texts = {f.name for f in table.schema if pa.types.is_binary(f.type)}
    if _LOSSY.search(run):
        texts |= _lossy(run, names, table.schema, delimiter)
    return pa.schema([pa.field(f.name, pa.string() if f.name in texts else f.type) for f in table.schema])


_LOSSY = re.compile(rb"(?:^|[,\t\n\r\"])[ ]*(?:[-+]?0\d|\+\d|-?\d{16})")
"""Perhaps a cell of which a number would lose something; quick to look for."""

_LOSSY_CELL = re.compile(r"[-+]?0\d+|\+\d+|-?\d{16,}")


def _lossy(run: bytes, names: list[str], schema: pa.Schema, delimiter: str) -> set[str]:
    """The columns of numbers that have cells of which the number has lost something."""
    numbers = {f.name: f.type for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)}
    table, _ = parse_cells(run, names, dict.fromkeys(numbers, pa.string()), delimiter)
    found = set()
    for name in numbers:
        cells = (cell.strip() for cell in table.column(name).to_pylist() if cell)
        lost = (cell for cell in cells if _LOSSY_CELL.fullmatch(cell))
        if any(cell[0] in "+0" or cell[:2] == "-0" or pa.types.is_floating(numbers[name]) for cell in lost):
            found.add(name)
    return found


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Byte ranges of about `target_bytes` that hold whole rows.

    Where there is more than one, the file is read through: a line end in quotes is known by the quotes before
    it. The rows are counted on the way.
    """
    path, size = file.path, file.size
    names, start = header(path, file.encoding, file.header, file.delimiter)
    if not names:
        return []
    told: dict[str, Any] = {"encoding": file.encoding, "header": file.header, "delimiter": file.delimiter}
    if is_compressed(path) or is_wide(file.encoding):
        return [Split("csv", (path,), (number, 0), 0, size, 0, None, size, **told)]
    if start >= size:
        return []
    if size - start <= target_bytes:
        return [Split("csv", (path,), (number, 0), start, size, 0, None, size - start, **told)]
    delimiter = delimiter_of(path, file.delimiter)
    splits: list[Split] = []
    first_row = rows = length = 0
    scan = lines.CsvScan(delimiter)

    def add() -> None:
        place = (number, len(splits))
        splits.append(Split("csv", (path,), place, start, start + length, first_row, rows, length, **told))

    with open_stream(path) as stream:
        stream.seek(start)
        for run in lines.runs(stream, None, scan, min(target_bytes, lines.SCAN_BYTES)):
            if length and length + len(run) // 2 >= target_bytes:
                add()
                start, first_row, rows, length = start + length, first_row + rows, 0, 0
            rows += scan.rows(run)
            length += len(run)
    if length:
        add()
    return splits


def text_of(split: Split) -> Iterator[bytes]:
    """The rows of the split as runs of bytes."""
    path = split.paths[0]
    _, start = header(path, split.encoding, split.header, split.delimiter)
    with open_text(path, split.encoding, size=split.stop) as stream:
        if is_compressed(path) or is_wide(split.encoding):
            skip(stream, start)
            size = None
        else:
            stream.seek(split.start)
            size = split.stop - split.start
        end = lines.csv_end(delimiter_of(path, split.delimiter))
        for run in lines.whole_runs(stream, size, end, lines.run_bytes(split.row_stop), path):
            yield recode(run, split.encoding)


def skip(stream: BinaryIO, size: int) -> None:
    """Pass `size` bytes of a stream that may not seek."""
    while size > 0:
        data = stream.read(min(size, 1 << 20))
        if not data:
            return
        size -= len(data)


def count(split: Split) -> int:
    """Rows in the split, bad ones too; where it has a `row_stop` that many are enough."""
    delimiter = delimiter_of(split.paths[0], split.delimiter)
    return enough((lines.count_csv(run, delimiter) for run in text_of(split)), split.row_stop)


def rows_about(file: InputFile) -> float | None:
    """Rows of the file, judged by its beginning; None where it is compressed or has an encoding of wide characters."""
    if is_compressed(file.path) or is_wide(file.encoding):
        return None
    _, start = header(file.path, file.encoding, file.header, file.delimiter)
    delimiter = delimiter_of(file.path, file.delimiter)
    return judged(file, start, lambda head: lines.count_csv(head, delimiter))


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split; rows that do not parse come as failures."""
    delimiter = delimiter_of(split.paths[0], split.delimiter)
    yield from read_runs(text_of(split), split, options, lambda run: lines.count_csv(run, delimiter), parse_text)


def parse_text(text: bytes, split: Split, options: ReadOptions) -> Parsed:
    """Rows of the split as columns; bad ones apart, and all of a file that lacks a column."""
    path = split.paths[0]
    names, _ = header(path, split.encoding, split.header, split.delimiter)
    delimiter = delimiter_of(path, split.delimiter)
    missing = next((field for field in options.data_schema if field.name not in names), None)
    if missing is not None:
        return no_rows(lines.count_csv(text, delimiter), options.data_schema, lacks(missing, names))
    parsed = parse(text, names, options.data_schema, delimiter, options.verbatim, dict(options.fed))
    return without_names(parsed, text, names, delimiter) if split.header in (None, True) else parsed


def whole_text(split: Split, text: bytes) -> Text:
    """Texts of the same columns go together; not one with quotes that are never closed, or other bytes than UTF-8."""
    delimiter = delimiter_of(split.paths[0], split.delimiter)
    names, _ = header(split.paths[0], split.encoding, split.header, split.delimiter)
    sound = is_utf8(text) and not lines.csv_open(text, delimiter)
    kind = (tuple(names), delimiter, split.header) if sound else None
    return Text(split, text, lines.count_csv(text, delimiter), kind)
