"""Rows of a table that are deleted by their values: a file names values, and older rows that have all of them are none.

delete file     id | day            data file     id | day | x
                 1 | null                          1 | null| 7    deleted: null is like null here
                                                   1 | 3   | 8    stays
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.read import parquet
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.result import NO_DERIVED, ReadOptions
from beamsplit.transforms.split import Split
from beamsplit.transforms.write.storage import open_input

FIELD_ID = b"PARQUET:field_id"

_ROW = "\0row"


@dataclass(frozen=True)
class KeyColumn:
    """A column that rows are compared by."""

    number: int
    """By which files know it."""

    name: str
    """In the table, or that it had when it was dropped."""

    kind: pa.DataType


@dataclass(frozen=True)
class EqualityDeletes:
    """Values of rows that are deleted."""

    paths: tuple[str, ...]
    """Parquet files of these columns, in which they are known by their numbers."""

    columns: tuple[KeyColumn, ...]


def deleted_by_values(
    split: Split,
    options: ReadOptions,
    deletes: EqualityDeletes,
    names: Mapping[int, str],
    constants: Mapping[str, pa.Scalar],
) -> np.ndarray:
    """Numbers of the rows of a split that are deleted, int64 in rising order.

    Args:
        split: of a Parquet file.
        options: that it is read by.
        deletes: what goes.
        names: number of a column -> what it is called in the file, of those that it has.
        constants: values of columns that the file may lack; others that it lacks are null.

    Raises:
        DamagedFile: a value cannot be read.
    """
    have = parquet.footer(split.paths[0]).schema.to_arrow_schema()
    fields = [pa.field(names[one.number], one.kind) for one in deletes.columns if one.number in names]
    # Without any of them, rows are counted by another.
    inner = replace(options, schema=pa.schema(fields or [have.field(0)]), columns=None, derived=NO_DERIVED, where=None)
    gone = [np.empty(0, np.int64)]
    for result in parquet.read(split, inner):
        if result.failures and fields:
            raise DamagedFile(f"{split.paths[0]} cannot be compared with deleted rows: {result.failures[0].reason}")
        block = result.block
        if block is None:
            continue
        columns = []
        for one in deletes.columns:
            if one.number in names:
                columns.append(block.column(names[one.number]))
            elif one.name in constants:
                columns.append(pa.repeat(constants[one.name].cast(one.kind), block.num_rows))
            else:
                columns.append(pa.nulls(block.num_rows, one.kind))
        rows = _comparable(columns).append_column(_ROW, block.column(ORIGIN_ROW))
        keys = _keys(deletes)
        gone.append(rows.join(keys, keys.column_names, join_type="left semi")[_ROW].to_numpy())
    return np.sort(np.concatenate(gone))


@lru_cache(maxsize=16)
def _keys(deletes: EqualityDeletes) -> pa.Table:
    """The values that go, each once, as `_comparable` has them."""
    parts = []
    for path in deletes.paths:
        with open_input(path) as opened, pq.ParquetFile(opened) as file:
            numbers = {
                int(f.metadata[FIELD_ID]): f.name for f in file.schema_arrow if f.metadata and FIELD_ID in f.metadata
            }
            names = [numbers.get(one.number, one.name) for one in deletes.columns]
            missing = [name for name in names if name not in file.schema_arrow.names]
            if missing:
                raise DamagedFile(f"{path} deletes rows by the column {missing[0]}, which it lacks")
            table = file.read(columns=names)
        columns = [
            table[name].cast(one.kind).combine_chunks() for name, one in zip(names, deletes.columns, strict=True)
        ]
        parts.append(_comparable(columns))
    whole = pa.concat_tables(parts)
    return whole.group_by(whole.column_names).aggregate([])


def _comparable(columns: list[pa.Array]) -> pa.Table:
    """Columns whose values are equal where those of rows are: null is like null, and NaN like NaN."""
    made = {}
    for at, column in enumerate(columns):
        made[f"valid{at}"] = pc.is_valid(column)
        filled = pc.fill_null(column, _zero(column.type))
        if pa.types.is_floating(column.type):
            values = np.where(np.isnan(filled.to_numpy()), column.type.to_pandas_dtype()(np.nan), filled.to_numpy())
            filled = pa.array(values.view(f"i{values.dtype.itemsize}"))
        made[f"value{at}"] = filled
    return pa.table(made)


def _zero(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.scalar("" if pa.types.is_string(kind) else b"", kind)
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(bytes(max(64, kind.bit_width // 8)))])[0]
