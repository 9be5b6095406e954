"""Predictions as the columns of a table: types that tables have, in the order of one that is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import INTERNAL_COLUMNS, data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.read.cast import CannotCast, cast_exactly
from beamsplit.transforms.step import RowFailure, StepResult
from beamsplit.transforms.write.plain_columns import written_column, written_type


def table_type(kind: pa.DataType) -> pa.DataType:
    """The type that a table has for single values: all are of whole bytes with a sign, and times are microseconds.

    >>> table_type(pa.uint16()), table_type(pa.timestamp("s", "Europe/Berlin"))
    (DataType(int32), TimestampType(timestamp[us, tz=UTC]))

    Raises:
        TypeError: it has none.
    """
    types = pa.types
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.float16(): pa.float32()}
    if kind in wider:
        return wider[kind]
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_date(kind):
        return pa.date32()
    if types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if types.is_decimal(kind) and kind.precision <= 38:
        return pa.decimal128(kind.precision, kind.scale)
    plain = (types.is_signed_integer(kind), types.is_floating(kind), types.is_boolean(kind), types.is_string(kind))
    if any(plain) or types.is_binary(kind):
        return kind
    raise TypeError(f"no table has {kind}")


def table_schema(schema: pa.Schema, what: str) -> pa.Schema:
    """The columns of a table that is made of blocks.

    Args:
        schema: of the blocks; internal columns are left out.
        what: is written, for errors: `"--output delta:preds"`.

    Raises:
        UsageError: a column has a type that tables have not.
    """
    fields = []
    for name in data_columns(schema):
        try:
            fields.append(pa.field(name, written_type(schema.field(name).type, table_type)))
        except TypeError:
            raise UsageError(
                f"{what}: a table cannot hold the column {name!r} of type {schema.field(name).type}; leave it out of "
                "--keep, or convert it with --prepare module:function"
            ) from None
    return pa.schema(fields)


def check_same_columns(schema: pa.Schema, table: pa.Schema, what: str) -> None:
    """Raise unless blocks have the columns of a table that is there, of types that can become its own.

    Args:
        schema: of the blocks.
        table: the table's.
        what: is written, for errors.

    Raises:
        UsageError: names the column.
    """
    names = data_columns(schema)
    for name in (name for name in names if name not in table.names):
        raise UsageError(
            f"{what}: the table has no column {name!r}, it has {', '.join(table.names)}; leave it out of --keep, name "
            "another table, or add the column to the table"
        )
    for field in table:
        if field.name not in names:
            raise UsageError(
                f"{what}: the table has a column {field.name!r} ({field.type}), which is not among the predictions: "
                f"{', '.join(names)}; add it to --keep, or name another table"
            )
        kind = schema.field(field.name).type
        try:
            cast_exactly(written_column(pa.nulls(0, kind), _plain(kind)), field.type)
        except (CannotCast, TypeError):
            raise UsageError(
                f"{what}: the column {field.name!r} is {field.type} in the table and {kind} among the predictions, and "
                "one cannot be made of the other; name another table"
            ) from None


def _plain(kind: pa.DataType) -> pa.DataType:
    """Without extension types, dictionaries and other kinds of lists; float16, which Arrow hardly casts, as float32."""
    return written_type(kind, lambda one: pa.float32() if one == pa.float16() else one)


@dataclass(frozen=True)
class AsTableColumns:
    """The last step of a job that writes a table: columns in its types and its order; rows that do not fit fail."""

    table: pa.Schema

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The table's columns, and the internal ones."""
        return pa.schema([*self.table, *(field for field in schema if field.name in INTERNAL_COLUMNS)])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Cast every column."""
        bad: dict[int, str] = {}
        columns = []
        for field in self.table:
            column = block.column(field.name)
            if isinstance(column, pa.FixedShapeTensorArray) and column.type.storage_type == field.type:
                columns.append(column.storage)
                continue
            plain = written_column(column, _plain(column.type))
            made, wrong = cast_exactly(plain, field.type)
            for row in np.asarray(wrong).tolist():
                bad.setdefault(row, f"column {field.name!r}: {str(column[row].as_py())[:80]} is no {field.type}")
            columns.append(made)
        inner = [block.column(name) for name in block.schema.names if name in INTERNAL_COLUMNS]
        made_block = pa.RecordBatch.from_arrays([*columns, *inner], schema=self.output_schema(block.schema))
        failures = [RowFailure(row, why) for row, why in sorted(bad.items())]
        return StepResult(drop_rows(made_block, list(bad)) if bad else made_block, failures)
