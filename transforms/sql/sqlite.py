"""Tables and queries of SQLite files: columns, ranges of rowids, and what tells that nobody has written meanwhile.

SQLite has no snapshot that several connections share. Each worker reads within a transaction that begins with a look
whether the file is as it was when the job was planned; if not, the job ends.

The file is only looked at, never opened beside SQLite: closing it would end the locks of this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.inputs import InputChanged
from beamsplit.transforms.sql.database import connect, is_adbc, run, told
from beamsplit.transforms.sql.held import until_done
from beamsplit.transforms.sql.names import quoted, quoted_table
from beamsplit.transforms.sql.query import Asked, SqlColumn, SqlQuery, one_of_each
from beamsplit.transforms.sql.sqlite_types import columns_of

BINARY, NAN = "COLLATE BINARY", None

PIECES, LEAST_ROWS = 64, 2_000
"""Ranges at most, and rows of one at least."""

BATCH_ROWS = 65_536

BUSY_MS = 60_000
"""How long who writes is waited for."""

TICK_NS = 50_000_000
"""Two changes of a file that lie closer may have one time."""


def stamp_of(path: str) -> tuple[int, ...]:
    """What changes whenever somebody commits: of the file, or of its write-ahead log where that has something."""
    for at, name in ((1, f"{path}-wal"), (0, path)):
        try:
            found = os.stat(name)
        except OSError:
            continue
        if found.st_size:
            return at, found.st_ino, found.st_mtime_ns, found.st_size
    return ()


def describe(asked: Asked) -> tuple[SqlQuery, int, tuple[str, ...]]:
    """(what is asked, about how many bytes it has, notes for the user), as of PostgreSQL.

    Raises:
        UsageError: there is none, it cannot be read, or the key is none.
    """
    database, path = asked.database, asked.database.path
    if not os.path.isfile(path):
        raise UsageError(f"--input {asked.name}: there is no file {path}; check the path")
    connection = connect(database, "--input")
    try:
        run(connection, f"PRAGMA busy_timeout = {BUSY_MS}")
        query, notes = _described(connection, asked)
    except BaseException as error:
        connection.close()
        if is_adbc(error):
            raise UsageError(f"--input {asked.name}: {told(error)}") from None
        raise
    # As long as somebody has it open, the write-ahead log stays as it is.
    until_done(connection.close)
    return query, os.path.getsize(path), notes


def _described(connection: Any, asked: Asked) -> tuple[SqlQuery, tuple[str, ...]]:
    database, name, table, text, key, limit = asked
    run(connection, "BEGIN")
    run(connection, "SELECT count(*) FROM sqlite_master")
    stamp = _settled(database.path)
    if text is not None:
        relation, kind = f"(\n{text}\n) AS q", "query"
    else:
        relation = quoted_table(table)
        kind = _kind(connection, name, table, database.path)
    columns = columns_of(connection, relation, text, table[-1] if table else "")
    names = [column.name for column in columns]
    if key is not None and key not in names:
        raise UsageError(f"--key names the column {key!r}, and {name} has {', '.join(names[:20])}; name one of them")
    number = _rowid(connection, relation, names) if kind == "table" else ""
    rows = int(run(connection, f"SELECT count(*) FROM {relation}")[0][0]) if kind == "table" else None
    notes: tuple[str, ...] = ()
    by, bounds = "", tuple[Any, ...]()
    if limit is not None:
        ordered = f" ORDER BY {quoted(key)}" if key else ""
        inner = f"*, {number} AS beamsplit_rowid" if number else "*"
        relation = f"(SELECT {inner} FROM {relation}{ordered} LIMIT {limit}) AS q"
        number, rows = "beamsplit_rowid" if number else "", None if rows is None else min(rows, limit)
    elif key is not None:
        by = quoted(key)
        bounds = _key_bounds(connection, relation, by)
    elif number:
        by, bounds = number, _rowid_bounds(connection, relation, number, rows or 0)
    else:
        notes = (f"{name} is read by one worker, as it has no rowids; name a column with --key to read it in ranges",)
    run(connection, "ROLLBACK")
    query = SqlQuery(
        database, name, relation, columns, by, "", bounds, key is not None and bool(by), number, rows, None, stamp
    )
    return query, notes


def _settled(path: str) -> tuple[int, ...]:
    """The stamp, once a later change would have another."""
    while True:
        stamp = stamp_of(path)
        age = time.time_ns() - stamp[2] if stamp else TICK_NS
        if age >= TICK_NS or age < 0:
            return stamp
        time.sleep((TICK_NS - age) / 1e9)


def _kind(connection: Any, name: str, table: tuple[str, ...], path: str) -> str:
    found = run(connection, "SELECT type, sql FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND type IN ('table', "
                "'view')", (table[-1],))  # fmt: skip
    if not found:
        tables = run(connection, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
        there = ", ".join(row[0] for row in tables[:10]) or "none"
        raise UsageError(f"--input {name}: there is no table {'.'.join(table)} in {path}, it has {there}; name one")
    return str(found[0][0])


def _rowid(connection: Any, relation: str, names: list[str]) -> str:
    """What the number of a row is called; empty where rows have none."""
    taken = {name.lower() for name in names}
    called = next((one for one in ("rowid", "_rowid_", "oid") if one not in taken), "")
    try:
        run(connection, f"SELECT {called or 1} FROM {relation} LIMIT 0")
    except Exception as error:
        if not is_adbc(error):
            raise
        return ""  # WITHOUT ROWID
    return called


def _rowid_bounds(connection: Any, relation: str, by: str, rows: int) -> tuple[int, ...]:
    step = max(LEAST_ROWS, -(-rows // PIECES))
    found: list[int] = []
    while (len(found) + 1) * step < rows:
        behind = f"WHERE {by} >= {found[-1]} " if found else ""
        more = run(connection, f"SELECT {by} FROM {relation} {behind}ORDER BY {by} LIMIT 1 OFFSET {step}")
        if not more:
            break
        found.append(int(more[0][0]))
    return tuple(found)


def _key_bounds(connection: Any, relation: str, by: str) -> tuple[Any, ...]:
    rows = run(connection, f"SELECT count({by}) FROM {relation}")[0][0]
    step = max(LEAST_ROWS, -(-rows // PIECES))
    if rows <= step:
        return ()
    # Each value by itself: a driver makes one type of a column's.
    found = run(
        connection,
        f"SELECT typeof(k), CAST(k AS TEXT), quote(k) FROM (SELECT {by} AS k, row_number() OVER (ORDER BY {by}) AS n "
        f"FROM {relation} WHERE {by} IS NOT NULL) WHERE n % {step} = 0",
    )
    values = [value if kind == "text" else quote for kind, value, quote in found]
    kinds = [kind for kind, _, _ in found]
    return one_of_each([_value(kind, value) for kind, value in zip(kinds, values, strict=True)])


def _value(kind: str, text: str) -> int | float | str:
    if kind == "integer":
        return int(text)
    return float(text) if kind == "real" else text


class Parameters:
    """Values of a statement, by their numbers."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, value: Any) -> str:
        """What stands for a value."""
        self._values.append(value)
        return f"?{len(self._values)}"

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def forget(self, count: int) -> None:
        """Have only the first of them."""
        del self._values[count:]

    def scalar(self, value: pa.Scalar) -> str | None:
        """What stands for a value of Arrow's; None where it has no counterpart."""
        kind = value.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind):
            return self.add(value.as_py())
        return None

    def set(self, connection: Any) -> tuple[Any, ...]:
        """Those that go with the statement."""
        return tuple(self._values)


def range_sql(query: SqlQuery, low: Any, high: Any, nulls: bool, given: Parameters) -> list[str]:
    """Conditions for a range of the query."""
    if nulls:
        return [f"{query.by} IS NULL"]
    parts = [f"{query.by} {op} {given.add(end)}" for op, end in ((">=", low), ("<", high)) if end is not None]
    return parts or ([f"{query.by} IS NOT NULL"] if query.nulls else [])


@contextmanager
def reading(query: SqlQuery) -> Iterator[Any]:
    """A connection in a transaction that sees what the job was planned with.

    Raises:
        InputChanged: somebody has written meanwhile.
    """
    connection = connect(query.database, f"--input {query.name}")
    try:
        run(connection, f"PRAGMA busy_timeout = {BUSY_MS}")
        run(connection, "BEGIN")
        run(connection, "SELECT count(*) FROM sqlite_master")
        if stamp_of(query.database.path) != query.stamp:
            raise InputChanged(
                f"{query.name} was written to while it was read, and SQLite shows its readers no common state: run the "
                "job again when nobody writes, or read a copy (VACUUM INTO)"
            )
        yield connection
    finally:
        connection.close()


def prepare_cursor(cursor: Any) -> None:
    """Batches of so many rows that types are looked for rarely."""
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})


def guarded(columns: tuple[SqlColumn, ...], asked: list[str]) -> list[str]:
    """The columns without values that are of another kind than theirs, for which the driver would fail."""
    made = [
        f'CASE WHEN NOT ({column.bad}) THEN {column.sql} END AS "c{at}"' if column.bad else asked[at]
        for at, column in enumerate(columns)
    ]
    return [*made, *asked[len(columns) :]]


def with_types(columns: tuple[SqlColumn, ...], more: Sequence[str], text: str) -> str:
    """The statement with a row before its first, by which the driver knows the columns' types: it has none else.

    Args:
        columns: that are asked for first.
        more: names of columns of whole numbers behind them.
        text: the statement.
    """
    first = [f'{_first(column.driver_type or column.type)} AS "c{at}"' for at, column in enumerate(columns)]
    first += [f'0 AS "{name}"' for name in more] or ([] if columns else ["0"])
    return f"SELECT {', '.join(first)} UNION ALL SELECT * FROM ({text})"


def _first(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "0.0"
    if pa.types.is_string(kind):
        return "''"
    return "x''" if pa.types.is_binary(kind) else "0"
