"""Predictions as the columns of a database's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import INTERNAL_COLUMNS, data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.read.cast import cast_exactly
from beamsplit.transforms.step import RowFailure, StepResult
from beamsplit.transforms.tables.columns import AsTableColumns
from beamsplit.transforms.write.plain_columns import written_column, written_type


@dataclass(frozen=True)
class AsPostgresColumns:
    """Columns in the types of a table; rows that do not fit fail, and texts with a zero byte, which it has not."""

    table: pa.Schema

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The table's columns, and the internal ones."""
        return AsTableColumns(self.table).output_schema(schema)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Look at the texts, then cast every column."""
        bad: dict[int, str] = {}
        for name in self.table.names:
            column = block.column(name)
            texts, rows = _texts(column)
            if texts is None:
                continue
            found = np.asarray(pc.fill_null(pc.match_substring(texts, "\0"), False))
            for row in np.unique(rows[found]).tolist():
                bad.setdefault(row, f"column {name!r}: PostgreSQL has no text with a zero byte in it")
        if not bad:
            return AsTableColumns(self.table)(block)
        kept = np.setdiff1d(np.arange(block.num_rows), list(bad))
        done = AsTableColumns(self.table)(drop_rows(block, list(bad)))
        more = [RowFailure(int(kept[failure.row]), failure.reason) for failure in done.failures]
        failures = [*more, *(RowFailure(row, why) for row, why in bad.items())]
        return StepResult(done.block, sorted(failures, key=lambda failure: failure.row))


def _texts(column: Any) -> tuple[Any, np.ndarray]:
    """(the texts of a column, or those in its lists, the row of each); None of a column without any."""
    rows = np.arange(len(column))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        rows = rows[np.asarray(pc.list_parent_indices(column))]
        column = pc.list_flatten(column)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return (column if is_text else None), rows


def sqlite_type(kind: pa.DataType) -> pa.DataType:
    """What a column is on its way into SQLite: whole numbers, floats, texts or bytes; lists are JSON.

    >>> sqlite_type(pa.list_(pa.float32())), sqlite_type(pa.bool_())
    (DataType(string), DataType(int64))

    Raises:
        TypeError: a struct has no fields.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return sqlite_type(kind.value_type)
    if types.is_integer(kind) or types.is_boolean(kind):
        return pa.int64()
    if types.is_floating(kind):
        return pa.float64()
    plain = written_type(kind, lambda one: one)
    if types.is_binary(plain) or types.is_large_binary(plain) or types.is_fixed_size_binary(plain):
        return pa.binary()
    return pa.string()


def sqlite_schema(schema: pa.Schema, what: str) -> tuple[pa.Schema, tuple[tuple[str, str], ...]]:
    """(the columns, (column, what it is declared as) of those whose values do not say what they are).

    Raises:
        UsageError: a column cannot be held.
    """
    fields, declared = [], []
    for name in data_columns(schema):
        kind = schema.field(name).type
        try:
            fields.append(pa.field(name, sqlite_type(kind)))
        except TypeError:
            raise UsageError(f"{what}: a table cannot hold the column {name!r} of type {kind}; leave it out") from None
        said = [("BOOLEAN", pa.types.is_boolean), ("DATE", pa.types.is_date), ("TIMESTAMP", pa.types.is_timestamp)]
        declared += [(name, word) for word, is_so in said if is_so(kind)]
    return pa.schema(fields), tuple(declared)


@dataclass(frozen=True)
class AsSqliteColumns:
    """Columns as they go into SQLite; whole numbers of more than 63 bits fail their rows."""

    table: pa.Schema

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns, and the internal ones."""
        return AsTableColumns(self.table).output_schema(schema)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Convert every column."""
        bad: dict[int, str] = {}
        columns = []
        for field in self.table:
            made, wrong = self._column(block.column(field.name), field.type)
            for row in np.asarray(wrong).tolist():
                bad.setdefault(
                    row, f"column {field.name!r}: {block.column(field.name)[row].as_py()} is no {field.type}"
                )
            columns.append(made)
        inner = [block.column(name) for name in block.schema.names if name in INTERNAL_COLUMNS]
        made_block = pa.RecordBatch.from_arrays([*columns, *inner], schema=self.output_schema(block.schema))
        failures = [RowFailure(row, why) for row, why in sorted(bad.items())]
        return StepResult(drop_rows(made_block, list(bad)) if bad else made_block, failures)

    def _column(self, column: Any, wanted: pa.DataType) -> tuple[Any, Any]:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_boolean(column.type) or pa.types.is_float16(column.type):
            return column.cast(pa.int8() if pa.types.is_boolean(column.type) else pa.float32()).cast(wanted), []
        if pa.types.is_string(wanted):
            from beamsplit.transforms.write.csv_file import csv_column

            plain = csv_column(written_column(column, written_type(column.type, lambda one: one)))
            return plain.cast(pa.string()), []
        return cast_exactly(written_column(column, written_type(column.type, lambda one: one)), wanted)
