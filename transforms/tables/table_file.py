"""A Parquet file as rows of a table: columns by the table's names, those that it tells, and rows that are deleted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.read import parquet
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.read.result import NO_DERIVED, ReadFailure, ReadOptions, ReadResult, conform
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.split import Split
from beamsplit.transforms.tables.equality import FIELD_ID, EqualityDeletes, deleted_by_values
from beamsplit.transforms.where.rename import rename_columns


@dataclass(frozen=True)
class TableFile:
    """What a table tells of one of its files."""

    schema: pa.Schema
    """Of the table, in its own names; not of the file, which may be older or younger."""

    constants: tuple[tuple[str, pa.Scalar], ...] = ()
    """Columns that are the same in all rows, and need not be in the file: those that the table is partitioned by."""

    names: tuple[tuple[str, str], ...] = ()
    """(column, its name in the file), where that is another."""

    ids: tuple[tuple[str, int], ...] = ()
    """(column, its number in the file), where columns are known by that; files without numbers are read by names."""

    mapped: tuple[tuple[str, int], ...] = ()
    """(name in files without numbers, the number that it stands for)."""

    rows: int | None = None
    """Rows that are not deleted; None where the table does not tell."""

    deleted: np.ndarray | None = field(default=None, compare=False, repr=False)
    """Numbers of the rows that are deleted, int64 in rising order."""

    by_values: tuple[EqualityDeletes, ...] = ()
    """Values of rows that are deleted."""

    @property
    def whole(self) -> bool:
        """Whether no row is deleted."""
        return self.deleted is None and not self.by_values

    def numbered(self, have: pa.Schema) -> Mapping[int, str]:
        """Number of a column -> its name in a file of these columns, as Arrow reads it."""
        by_id = {int(f.metadata[FIELD_ID]): f.name for f in have if f.metadata and FIELD_ID in f.metadata}
        if by_id:
            return by_id
        numbers = dict(self.mapped)
        return {numbers[name]: name for name in have.names if name in numbers}

    def own_names(self, have: pa.Schema) -> Mapping[str, str]:
        """Column -> its name in a file of these columns; a column that it lacks is null.

        Args:
            have: the file's schema, as Arrow reads it.
        """
        told = {name for name, _ in self.constants}
        by_id = self.numbered(have)
        if self.ids and by_id:
            return {name: by_id[number] for name, number in self.ids if number in by_id and name not in told}
        names = dict(self.names)
        return {n: names.get(n, n) for n in self.schema.names if names.get(n, n) in have.names and n not in told}


def file_stamp(path: str) -> tuple[int, int] | None:
    """(number on its disk, nanoseconds of its last change) of a local file; None of others, and of one that is gone."""
    if not is_local(path):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def read_table_file(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of a split of a table's file, as blocks of the table's columns.

    Rows that are deleted are none of the table, and are neither given nor counted.
    """
    table = split.table
    assert table is not None
    have = plain_schema(parquet.footer(split.paths[0]).schema.to_arrow_schema())
    own = table.own_names(have)
    if table.by_values:
        numbers = table.numbered(have) or {number: name for name, number in table.ids if name in have.names}
        known = dict(table.constants)
        gone = [deleted_by_values(split, options, one, numbers, known) for one in table.by_values]
        marked = [] if table.deleted is None else [table.deleted]
        table = replace(table, deleted=np.unique(np.concatenate([*gone, *marked])))
    wanted = options.data_schema
    read = {name: own[name] for name in wanted.names if name in own}
    # Without any column, rows are counted by one.
    fields = [pa.field(read[f.name], f.type) for f in wanted if f.name in read] or [have.field(0)]
    where = options.where
    if where is not None:
        # Of a column that the file lacks nothing is known; of deleted rows they would be counted.
        absent = "\0"
        where = None if table.deleted is not None else rename_columns(where, lambda name: own.get(name, absent))
    inner = replace(options, schema=pa.schema(fields), columns=None, derived=NO_DERIVED, where=where)
    finish = _finisher(table, read, options)
    for result in parquet.read(split, inner):
        yield finish(result)


def _finisher(table: TableFile, read: Mapping[str, str], options: ReadOptions) -> Callable[[ReadResult], ReadResult]:
    constants, wanted = dict(table.constants), options.data_schema

    def column(block: pa.RecordBatch, asked: pa.Field) -> pa.Array:
        if asked.name in read:
            return block.column(read[asked.name])
        if asked.name in constants:
            return pa.repeat(constants[asked.name], block.num_rows)
        return pa.nulls(block.num_rows, asked.type)

    def finish(result: ReadResult) -> ReadResult:
        failures = _not_deleted(result.failures, table.deleted)
        block = result.block
        if block is not None and table.deleted is not None:
            gone = np.isin(block.column(ORIGIN_ROW).to_numpy(), table.deleted)
            block = block.filter(pa.array(~gone)) if gone.any() else block
        if block is None or not block.num_rows:
            return ReadResult(None, failures, result.left_out)
        columns = [column(block, asked) for asked in wanted]
        origin = [block.column(ORIGIN_FILE), block.column(ORIGIN_ROW)]
        made = pa.RecordBatch.from_arrays(columns, names=wanted.names) if columns else block.select([])
        if made.schema.types != wanted.types:
            # A constant that was declared as another type, by --types.
            parsed = conform(made, wanted)
            for at, why in sorted(parsed.bad.items()):
                failures = [*failures, ReadFailure(origin[0][at].as_py(), origin[1][at].as_py(), why)]
            if parsed.bad:
                good = pa.array(~np.isin(np.arange(block.num_rows), list(parsed.bad)))
                origin = [pc.filter(one, good) for one in origin]
            made = parsed.batch
        blocks = pa.RecordBatch.from_arrays([*made.columns, *origin], schema=options.block_schema)
        return ReadResult(blocks if blocks.num_rows else None, failures, result.left_out)

    return finish


def _not_deleted(failures: list[ReadFailure], deleted: np.ndarray | None) -> list[ReadFailure]:
    if deleted is None or not failures:
        return failures
    gone = set(deleted.tolist())
    return [failure for failure in failures if failure.row not in gone]
