"""Cells of CSV as columns: parsed by pyarrow, those that do not convert found one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.read import lines
from beamsplit.transforms.read.encoding import (
    bytes_as_letters,
    is_utf8,
    letters_as_bytes,
)
from beamsplit.transforms.read.result import Parsed
from beamsplit.transforms.read.wide_numbers import Fed, unheld


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
    if run[:1] in b"\r\n" and not run.strip(b"\r\n"):
        return Parsed(empty[0], 0)
    if b'"' in run and run.count(b'"') % 2 and lines.csv_open(run, delimiter):
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
        table, bad = parse_cells(run, names, kinds, delimiter)
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
        table, bad = parse_cells(readable, names, dict.fromkeys(kinds, pa.binary()), delimiter)
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
            return parse_cells(run, names, {name: pa.string()}, delimiter)[0].column(name).combine_chunks()

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
    if passing and b'"' in run and b'""' in run:
        kinds = {name: table.schema.field(name).type for name in passing}
        told, _ = parse_cells(run, names, kinds, delimiter, only_empty_is_null=True)
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


def parse_cells(
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
            # All others have this letter; where there is none, comparing each cell with all takes a sixth of the time.
            null_values=null_cells(floats=True) if not only_empty_is_null and (b"N" in run or b"n" in run) else [""],
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
