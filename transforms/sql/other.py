"""Databases that some other ADBC driver reaches: read by one worker in one statement, which sees one state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.sql.database import connect, is_adbc, told
from beamsplit.transforms.sql.names import quoted, quoted_table
from beamsplit.transforms.sql.query import Asked, SqlColumn, SqlQuery

BINARY, NAN = "", None


def describe(asked: Asked) -> tuple[SqlQuery, int, tuple[str, ...]]:
    """(what is asked, a number of bytes, notes for the user), as of PostgreSQL.

    Raises:
        UsageError: it cannot be read, or a key is given, for which there is no use.
    """
    database, name, table, text, key, limit = asked
    if key is not None:
        raise UsageError(
            f"--key is for PostgreSQL and SQLite, and {name} is of the driver {database.kind}, whose workers would see "
            "several states of the table; leave it out"
        )
    relation = quoted_table(table) if text is None else f"(\n{text}\n) AS q"
    if limit is not None:
        relation = f"(SELECT * FROM {relation} LIMIT {limit}) AS q"
    connection = connect(database, "--input")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {relation} WHERE 1 = 0")
            schema = plain_schema(cursor.fetch_arrow_table().schema)
    except Exception as error:
        if not is_adbc(error):
            raise
        raise UsageError(f"--input {name}: {told(error, database)}") from None
    finally:
        connection.close()
    columns = tuple(SqlColumn(field.name, quoted(field.name), field.type) for field in schema)
    notes = (f"{name} is read by one worker: its driver {database.kind} shows workers no common state",)
    return SqlQuery(database, name, relation, columns), 1 << 20, notes


class Parameters:
    """None: ranges and conditions are left to Arrow."""

    def __len__(self) -> int:
        """None."""
        return 0

    def forget(self, count: int) -> None:
        """There are none."""

    def scalar(self, value: pa.Scalar) -> str | None:
        """Nothing stands for it."""
        return None

    def set(self, connection: Any) -> None:
        """Nothing."""


def range_sql(query: SqlQuery, low: Any, high: Any, nulls: bool, given: Parameters) -> list[str]:
    """All of it."""
    return []


@contextmanager
def reading(query: SqlQuery) -> Iterator[Any]:
    """A connection."""
    connection = connect(query.database, f"--input {query.name}")
    try:
        yield connection
    finally:
        connection.close()


def prepare_cursor(cursor: Any) -> None:
    """Nothing is known of its options."""
