"""Rows of databases as blocks: splits are ranges of a table or a query (`transforms/sql`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.plain_types import plain_array
from beamsplit.transforms.read.result import (
    Parsed,
    ReadFailure,
    ReadOptions,
    ReadResult,
    blocks_of,
    blocks_of_numbered,
    conform,
)
from beamsplit.transforms.split import Split
from beamsplit.transforms.sql import other, postgres, sqlite
from beamsplit.transforms.sql.database import DatabaseError, is_adbc, told
from beamsplit.transforms.sql.pushdown import Wider
from beamsplit.transforms.sql.query import SqlColumn, SqlQuery, bounds_of, make_splits

NUMBER, BAD = "_beamsplit_number", "_beamsplit_bad"
"""Columns beside those that are asked for: by what a row is known, and which of its values cannot be read."""


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The columns."""
    assert file.query is not None
    return file.query.schema


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Ranges of about `target_bytes`."""
    assert file.query is not None
    return make_splits(file.query, file.path, file.size, number, target_bytes)


def count(split: Split) -> int:
    """Rows of the split."""
    query = _query(split)
    statement = Statement(query, split, ())
    inner = f"SELECT 1 FROM {query.relation}{statement.where(None)}"
    most = f" LIMIT {split.row_stop}" if split.row_stop is not None else ""
    with statement.opened(f"SELECT count(*) FROM ({inner}{most}) AS c") as reader:
        (found,) = (batch.column(0)[0].as_py() for batch in reader if batch.num_rows)
    return int(found)


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split: only the columns that are wanted, and of the rows those that `--where` may keep.

    Raises:
        DatabaseError: the database refuses, or goes away.
    """
    query = _query(split)
    found = [query.column(field.name) for field in options.data_schema]
    columns = tuple(column for column in found if column is not None)
    statement = Statement(query, split, columns)
    at = 0
    with statement.opened(statement.select(options)) as reader:
        for batch in reader:
            if batch.num_rows:
                yield from _results(batch, columns, split, at, options)
            at += batch.num_rows


def _results(
    batch: pa.RecordBatch, columns: tuple[SqlColumn, ...], split: Split, at: int, options: ReadOptions
) -> Iterator[ReadResult]:
    own = pa.RecordBatch.from_arrays(
        [plain_array(batch.column(k)) for k in range(len(columns))], names=[column.name for column in columns]
    ) if columns else batch.select([])  # fmt: skip
    numbers = np.arange(at, at + batch.num_rows, dtype=np.int64) + (split.first_row or 0)
    if NUMBER in batch.schema.names:
        numbers = batch.column(NUMBER).cast(pa.int64()).to_numpy(zero_copy_only=False)
    bad: dict[int, str] = {}
    if BAD in batch.schema.names:
        marks = np.asarray(batch.column(BAD))
        bad = {int(row): f"column {columns[marks[row] - 1].name!r} {columns[marks[row] - 1].why}"
               for row in np.flatnonzero(marks)}  # fmt: skip
        if bad:
            own = own.filter(pc.equal(batch.column(BAD), 0))
    parsed = conform(own, options.data_schema)
    if bad:
        places = np.setdiff1d(np.arange(batch.num_rows), list(bad))
        bad |= {int(places[row]): why for row, why in parsed.bad.items()}
        parsed = Parsed(parsed.batch, batch.num_rows, bad)
    file = split.origin_file()
    failures = [ReadFailure(file, int(numbers[row]), why) for row, why in sorted(parsed.bad.items())]
    if failures:
        yield ReadResult(None, failures)
    if NUMBER in batch.schema.names or failures:
        blocks = blocks_of_numbered(parsed.batch, file, numbers[parsed.positions()], options)
    else:
        blocks = blocks_of(parsed.batch, file, int(numbers[0]), options)
    for block in blocks:
        yield ReadResult(block, [])


class Statement:
    """A statement for a range, in the words of its database."""

    def __init__(self, query: SqlQuery, split: Split, columns: tuple[SqlColumn, ...]) -> None:
        self._query, self._split, self._columns = query, split, columns
        self._kind = query.database.kind
        self._typed = False  # Whether a row stands first that tells the types.
        self._given: Any = {"postgresql": postgres.Parameters, "sqlite": sqlite.Parameters}.get(
            self._kind, other.Parameters
        )()

    def select(self, options: ReadOptions) -> str:
        """The rows, `row_start` and `row_stop` applied."""
        split, query = self._split, self._query
        if split.row_start:
            raise ValueError("rows of a database have no places that two readings agree on")
        asked = [f'{column.sql} AS "c{at}"' for at, column in enumerate(self._columns)]
        if query.number:
            asked.append(f'{query.number} AS "{NUMBER}"')
        bad = [f"WHEN {column.bad} THEN {at}" for at, column in enumerate(self._columns, 1) if column.bad]
        if bad:
            asked.append(f'CASE {" ".join(bad)} ELSE 0 END AS "{BAD}"')
        most = f" LIMIT {split.row_stop}" if split.row_stop is not None else ""
        if self._kind == "sqlite":
            asked = sqlite.guarded(self._columns, asked)
        text = f"SELECT {', '.join(asked) or '1'} FROM {query.relation}{self.where(options)}{most}"
        if self._kind == "sqlite":
            self._typed = True
            text = sqlite.with_types(self._columns, [*[NUMBER] * bool(query.number), *[BAD] * bool(bad)], text)
        return text

    def where(self, options: ReadOptions | None) -> str:
        """The range, and what of `--where` can be asked."""
        query = self._query
        module: Any = {"postgresql": postgres, "sqlite": sqlite}.get(self._kind, other)
        parts = module.range_sql(query, *bounds_of(query, self._split), self._given)
        # Of the first rows, those are wanted that it keeps: not the first that it keeps.
        if options is not None and options.where is not None and self._split.row_stop is None:
            more = Wider(self._column(options), self._given, module.BINARY, module.NAN)(options.where)
            parts += [] if more is None else [f"({more})"]
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _column(self, options: ReadOptions) -> Any:
        def find(name: str) -> tuple[str, bool] | None:
            column = self._query.column(name)
            if column is None or self._kind not in ("postgresql", "sqlite"):
                return None
            same = name in options.schema.names and options.schema.field(name).type == column.type
            return column.sql, column.plain and same

        return find

    def opened(self, text: str) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """The batches of what the statement gives."""
        return closing(self._batches(text))  # type: ignore[type-var]

    def _batches(self, text: str) -> Iterator[pa.RecordBatch]:
        query = self._query
        module: Any = {"postgresql": postgres, "sqlite": sqlite}.get(self._kind, other)
        try:
            with module.reading(query) as connection, connection.cursor() as cursor:
                parameters = self._given.set(connection)
                module.prepare_cursor(cursor)
                cursor.execute(text, parameters or None)
                skipped = not self._typed
                for batch in cursor.fetch_record_batch():
                    yield batch if skipped else batch.slice(1)
                    skipped = True
        except Exception as error:
            if not is_adbc(error) and not isinstance(error, pa.ArrowException):
                raise
            raise DatabaseError(f"{query.name} could not be read: {told(error, query.database)}") from None


def _query(split: Split) -> SqlQuery:
    assert split.query is not None
    return split.query
