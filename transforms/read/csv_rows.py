"""CSV: byte ranges that hold whole rows, parsed by pyarrow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import lines
from beamsplit.transforms.read.csv_again import without_names
from beamsplit.transforms.read.csv_header import delimiter_of, header
from beamsplit.transforms.read.encoding import (
    bytes_as_letters,
    is_utf8,
    is_wide,
    letters_as_bytes,
    open_text,
    recode,
)
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult, RowWindow, lacks, no_rows
from beamsplit.transforms.read.streams import is_compressed, open_stream
from beamsplit.transforms.read.text_counts import enough, judged
from beamsplit.transforms.read.wide_numbers import Fed, unheld
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
    table, _ = _parse(run, names, dict.fromkeys(numbers, pa.string()), delimiter)
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
    path = split.paths[0]
    names, _ = header(path, split.encoding, split.header, split.delimiter)
    delimiter = delimiter_of(path, split.delimiter)
    missing = next((field for field in options.data_schema if field.name not in names), None)
    fed = dict(options.fed)
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for run in text_of(split):
        if window.done:
            return
        if window.at < window.start:
            rows = lines.count_csv(run, delimiter)
            if window.at + rows <= window.start:
                window.next(rows)
                continue
        if missing is None:
            parsed = parse(run, names, options.data_schema, delimiter, options.verbatim, fed)
            if split.header in (None, True):
                parsed = without_names(parsed, run, names, delimiter)
        else:
            parsed = no_rows(lines.count_csv(run, delimiter), options.data_schema, lacks(missing, names))
        begin, end, number = window.next(parsed.rows)
        yield from parsed.window(begin, end).results(split.origin_file(), number + begin, options)


def parse(
    run: bytes,
    names: list[str],
    schema: pa.Schema,
    delimiter: str = ",",
    verbatim: Collection[str] = (),
    fed: Mapping[str, Fed] = MappingProxyType({}),
) -> Parsed:
    """Rows of text as columns of `schema`; bad rows apart. `fed` is as in `ReadOptions`.

    Empty cells and the like (`NA`, `null`) are null; `nan` is a number where numbers may be. In columns of text (and of
    `verbatim`) only an empty cell is null: `NA` is a text, and `""`, nothing between quotes, is an empty one.
    """
    empty = schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=schema)]
    if not run.strip(b"\r\n"):
        return Parsed(empty[0], 0)
    if run.count(b'"') % 2 and lines.csv_open(run, delimiter):
        # pyarrow would close the quotes at the end and take all that follows for one cell.
        whole = parse(run[: lines.csv_end(delimiter)(run)], names, schema, delimiter, verbatim, fed)
        bad = {**whole.bad, whole.rows: "a quoted field is never closed, so nothing behind it can be read"}
        return Parsed(whole.batch, whole.rows + 1, bad)
    kinds = {f.name: pa.float32() if f.type == pa.float16() else f.type for f in schema}
    passing = [f.name for f in schema if f.name in verbatim or _is_text(f.type)]
    utf8 = is_utf8(run)
    try:
        if not utf8:
            raise pa.ArrowInvalid("not UTF-8")
        table, bad = _parse(run, names, kinds, delimiter)
        table = _with_nulls(table, run, names, passing, delimiter)
        parsed = Parsed(_one_batch(table.select(schema.names), schema), table.num_rows + len(bad), bad)
        wide = _wide_numbers(table, run, names, delimiter, fed)
        if not wide:
            return parsed
        where = parsed.positions()
        return parsed.without({int(where[at]): why for at, why in wide.items()})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # some cell does not convert, or a type is not known to the CSV reader
    try:
        readable = run if utf8 else bytes_as_letters(run)
        table, bad = _parse(readable, names, dict.fromkeys(kinds, pa.binary()), delimiter)
        table = _with_nulls(table, readable, names, passing, delimiter)
        if not utf8:
            table = pa.table([letters_as_bytes(column) for column in table.columns], table.column_names)
    except pa.ArrowInvalid as error:
        rows = lines.count_csv(run, delimiter)
        return Parsed(empty[0], rows, dict.fromkeys(range(rows), f"no CSV row: {' '.join(str(error).split())}"))
    parsed = Parsed(_one_batch(table, table.schema), table.num_rows + len(bad), bad)
    positions = parsed.positions()
    columns = []
    good = np.ones(table.num_rows, dtype=bool)
    for field in schema:
        cells = parsed.batch.column(field.name)
        column, wrong = _convert(cells, field.type)
        columns.append(column)
        texts = lambda cells=cells: cells.cast(pa.string())  # noqa: E731
        for at, why in unheld(column, texts, fed=fed.get(field.name)).items():
            good[at] = False
            bad.setdefault(int(positions[at]), f"column {field.name!r}: {why}")
        for at in wrong:
            good[at] = False
            bad.setdefault(int(positions[at]), _no_such_value(field, cells[at].as_py()))
    batch = pa.RecordBatch.from_arrays(columns, schema=schema).filter(pa.array(good))
    return Parsed(batch, parsed.rows, bad)


def _no_such_value(field: pa.Field, cell: bytes) -> str:
    shown = cell[:80].decode("utf-8", "backslashreplace")
    try:
        cell.decode()
    except UnicodeDecodeError:
        return f"column {field.name!r}: '{shown}' is not UTF-8 (see --encoding)"
    return f"column {field.name!r}: {cell.decode()[:80]!r} is no {field.type}"


def _wide_numbers(
    table: pa.Table, run: bytes, names: list[str], delimiter: str, fed: Mapping[str, Fed]
) -> dict[int, str]:
    """Rows of the table with a number that its column does not hold, and why."""
    found: dict[int, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):

        def texts(name: str = name) -> pa.Array:
            return _parse(run, names, {name: pa.string()}, delimiter)[0].column(name).combine_chunks()

        if not pa.types.is_floating(column.type):
            continue
        for row, why in unheld(column.combine_chunks(), texts, fed=fed.get(name)).items():
            found.setdefault(row, f"column {name!r}: {why}")
    return found


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _with_nulls(table: pa.Table, run: bytes, names: list[str], passing: list[str], delimiter: str) -> pa.Table:
    """Null in these columns where a cell is empty; an empty text in quotes stays."""
    if b'""' in run and passing:
        kinds = {name: table.schema.field(name).type for name in passing}
        told, _ = _parse(run, names, kinds, delimiter, only_empty_is_null=True)
        for name in passing:
            table = table.set_column(table.schema.get_field_index(name), name, told.column(name))
        return table
    for name in passing:
        column = table.column(name)
        empty = pc.equal(column, pa.scalar("", column.type))
        if pc.any(empty).as_py():
            cells = pc.if_else(empty, pa.scalar(None, column.type), column)
            table = table.set_column(table.schema.get_field_index(name), name, cells)
    return table


def _parse(
    run: bytes, names: list[str], kinds: dict[str, pa.DataType], delimiter: str, only_empty_is_null: bool = False
) -> tuple[pa.Table, dict[int, str]]:
    """(the columns, why rows were left out by their number); text may be null only if `only_empty_is_null`."""
    from pyarrow import csv

    bad: dict[int, str] = {}

    def note(row: csv.InvalidRow) -> str:
        bad[row.number - 1] = f"{row.actual_columns} fields, but there are {row.expected_columns} columns"
        return "skip"

    table = csv.read_csv(
        pa.BufferReader(run),
        read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=len(run) + 1),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
        convert_options=csv.ConvertOptions(
            column_types=kinds or {names[0]: pa.binary()},
            include_columns=list(kinds) or names[:1],
            null_values=[""] if only_empty_is_null else null_cells(floats=True),
            strings_can_be_null=only_empty_is_null,
            quoted_strings_can_be_null=not only_empty_is_null,
        ),
    )
    return table, bad


def _one_batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    if not len(schema):
        return pa.RecordBatch.from_struct_array(pa.array([{}] * table.num_rows, type=pa.struct([])))
    columns = [column.combine_chunks() for column in table.columns]
    columns = [c.cast(f.type) if c.type != f.type else c for c, f in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _convert(cells: pa.Array, kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Cells (binary) as values of `kind`, null where they are bad, and the positions of those."""
    if pa.types.is_binary(kind):
        return cells, []
    if pa.types.is_dictionary(kind):
        values, wrong = _convert(cells, kind.value_type)
        return values.dictionary_encode().cast(kind), wrong
    text, wrong = _cast(cells, pa.string())
    if pa.types.is_string(kind):
        return text, wrong
    if not _has_text_form(kind):
        raise ValueError(f"a CSV cell cannot be read as {kind}")
    text = pc.utf8_trim_whitespace(text)
    nothing = pa.array(null_cells(pa.types.is_floating(kind)), pa.string())
    text = pc.if_else(pc.is_in(text, value_set=nothing), pa.scalar(None, pa.string()), text)
    values, more = _cast(text, pa.float32() if kind == pa.float16() else kind)
    return values.cast(kind), sorted({*wrong, *more})


def _has_text_form(kind: pa.DataType) -> bool:
    try:
        pa.nulls(0, pa.string()).cast(pa.float32() if kind == pa.float16() else kind)
    except pa.ArrowNotImplementedError:
        return False
    return True


def null_cells(floats: bool) -> list[str]:
    """Cells that are null: pyarrow's own, without `nan` where numbers may be it."""
    from pyarrow import csv

    cells: list[str] = csv.ConvertOptions().null_values
    return [cell for cell in cells if not floats or cell.strip("-").lower() != "nan"]


def _cast(cells: pa.Array, kind: pa.DataType, offset: int = 0) -> tuple[pa.Array, list[int]]:
    """Cast by halves until the cells that do not convert are found."""
    try:
        return cells.cast(kind), []
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, kind), [offset]
    half = len(cells) // 2
    left, wrong = _cast(cells.slice(0, half), kind, offset)
    right, more = _cast(cells.slice(half), kind, offset + half)
    return pa.concat_arrays([left, right]), wrong + more
