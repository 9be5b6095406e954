"""CSV files, written block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.write.plain_columns import is_plain
from beamsplit.transforms.write.text_file import merge_text, pieces_of


class CsvFile:
    """Strings are quoted and a null is an empty cell; N-D values are JSON text in the cell, binary is base64."""

    def __init__(self, out: Any, schema: pa.Schema) -> None:
        from pyarrow import csv

        self._file = out
        self._file.write(csv_header(schema))
        self._writer = csv.CSVWriter(
            self._file, _csv_schema(schema), write_options=csv.WriteOptions(include_header=False, batch_size=8192)
        )

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        for piece in pieces_of(block):
            columns = [csv_column(column) for column in piece.columns]
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_csv_schema(block.schema)))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self.close()


open_file = CsvFile


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Copy rows of files to one, under one header."""
    merge_text(out, parts, csv_header(schema), quotes=True)


def check_field(field: pa.Field) -> None:
    """Raise for a column that no cell can hold."""
    if is_plain(field.type):
        return
    from pyarrow import csv

    csv.write_csv(pa.table({"c": csv_column(pa.nulls(2, field.type))}), pa.BufferOutputStream())


def csv_header(schema: pa.Schema) -> bytes:
    """The first row of every CSV file: the quoted column names."""
    names = ('"' + name.replace('"', '""') + '"' for name in schema.names)
    return (",".join(names) + "\n").encode()


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
