"""One CSV or JSON Lines file, written block by block, and parts of such files put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from beamsplit.transforms.write.rows import line_ends
from beamsplit.transforms.write.storage import open_input, open_output

CHUNK = 4 << 20
"""Bytes copied at a time."""

ENCODE_BYTES = 16 << 20
"""Bytes of a block that are turned into text at once: text is a few times larger, and must stay below 2 GB."""


class CsvFile:
    """Strings are quoted and a null is an empty cell; N-D values are JSON text in the cell, binary is base64."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        from pyarrow import csv

        self._file = open_output(path)
        self._file.write(csv_header(schema))
        self._writer = csv.CSVWriter(
            self._file, _csv_schema(schema), write_options=csv.WriteOptions(include_header=False, batch_size=8192)
        )

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        for piece in _pieces(block):
            columns = [csv_column(column) for column in piece.columns]
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_csv_schema(block.schema)))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self.close()


class JsonLinesFile:
    """One JSON object a row; `json_text` says how values look."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._file = open_output(path)

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        from beamsplit.transforms.write.json_text import json_lines

        for piece in _pieces(block):
            self._file.write(json_lines(piece))

    def close(self) -> None:
        """Write what waits."""
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self.close()


def csv_header(schema: pa.Schema) -> bytes:
    """The first row of every CSV file: the quoted column names."""
    names = ('"' + name.replace('"', '""') + '"' for name in schema.names)
    return (",".join(names) + "\n").encode()


def merge_text(path: str, format: str, schema: pa.Schema, parts: Iterable[tuple[str, int, int, int]]) -> None:
    """Put rows [start, stop) of files together, under one header.

    Args:
        path: The file to write.
        format: `csv` or `jsonl`.
        schema: Of all the files.
        parts: For each file its path, start, stop and number of rows.
    """
    header = csv_header(schema) if format == "csv" else b""
    with open_output(path) as out:
        out.write(header)
        for source, start, stop, rows in parts:
            with open_input(source) as file:
                file.seek(len(header))
                pieces = _chunks(file) if (start, stop) == (0, rows) else _rows(file, start, stop, format == "csv")
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


def _pieces(block: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, ENCODE_BYTES * block.num_rows // max(block.nbytes, 1))
    for first in range(0, block.num_rows, rows):
        yield block.slice(first, rows)


def _csv_type(type_: pa.DataType) -> pa.DataType:
    """How a column reaches the CSV writer: as it is where that can write it, else as text."""
    types = pa.types
    if types.is_dictionary(type_):
        return _csv_type(type_.value_type)
    if types.is_float16(type_):
        return pa.float32()
    if types.is_duration(type_):
        return pa.int64()
    plain = types.is_primitive(type_) or types.is_boolean(type_) or types.is_null(type_) or types.is_string(type_)
    return type_ if plain or types.is_large_string(type_) or types.is_decimal(type_) else pa.string()


def _csv_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, _csv_type(field.type)) for field in schema])


def csv_column(column: Any) -> pa.Array:
    """A column as the CSV writer takes it."""
    types, target = pa.types, _csv_type(column.type)
    if types.is_dictionary(column.type):
        return csv_column(column.dictionary_decode())
    if target == column.type:
        return column
    if target != pa.string() or types.is_string_view(column.type):
        return column.cast(target)
    from beamsplit.transforms.write.json_text import base64_text, is_binary, json_text

    if isinstance(column, pa.ExtensionArray) and is_binary(column.type.storage_type):
        column = column.storage  # uuid
    return base64_text(column) if is_binary(column.type) else json_text(column)
