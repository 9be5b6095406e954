"""The table that a job writes, as it is before: its columns, and whether the rows may go there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.sql.database import Database, connect, is_adbc, run, told, without_query
from beamsplit.transforms.sql.names import quoted, quoted_table
from beamsplit.transforms.sql.postgres import columns_of
from beamsplit.transforms.sql.records import NO_COLUMNS

_COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)::text,
  a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a'
FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

NEEDS = {"append": ("INSERT",), "error": ("INSERT",), "overwrite": ("INSERT", "DELETE"), "merge": ("INSERT", "UPDATE",
         "SELECT")}  # fmt: skip
"""Mode -> what a user must be allowed."""


@dataclass(frozen=True)
class Target:
    """A table."""

    table: tuple[str, str]
    """(schema, table)."""

    there: bool
    columns: pa.Schema = NO_COLUMNS
    """As they would be read."""

    types: tuple[tuple[str, str], ...] = ()
    """(column, its type in the database's words)."""

    needed: tuple[str, ...] = ()
    """Columns that each row must have a value for."""

    made: tuple[str, ...] = ()
    """Columns whose values the database makes."""

    def check_names(self, names: Sequence[str], what: str) -> None:
        """Raise unless a table that is there takes just these columns.

        Raises:
            UsageError: names the column.
        """
        if not self.there:
            return
        have = [name for name, _ in self.types]
        for name in names:
            if name not in have:
                raise UsageError(
                    f"{what}: the table has no column {name!r}, it has {', '.join(have)}; leave it out of --keep, name "
                    "another table, or add the column to the table"
                )
            if name in self.made:
                raise UsageError(
                    f"{what}: the values of the column {name!r} are made by the database (GENERATED ALWAYS); leave it "
                    "out of --keep"
                )
        for name in self.needed:
            if name not in names:
                raise UsageError(
                    f"{what}: the table wants a value for its column {name!r}, which is not among the predictions: "
                    f"{', '.join(names)}; add it to --keep, or give it a default"
                )


def postgres_target(database: Database, name: str, table: tuple[str, ...], mode: str) -> Target:
    """The table of PostgreSQL.

    Raises:
        UsageError: it is no table, or the user may not write it, or make what is needed beside it.
    """
    connection = connect(database, "--output")
    try:
        return _postgres_target(connection, database, name, table, mode)
    except Exception as error:
        if not is_adbc(error):
            raise
        raise UsageError(f"--output {name}: {told(error, database)}") from None
    finally:
        connection.close()


def _postgres_target(connection: Any, database: Database, name: str, table: tuple[str, ...], mode: str) -> Target:
    ((standby, user, here),) = run(connection, "SELECT pg_is_in_recovery(), current_user::text, current_schema()::text")
    if standby:
        raise UsageError(f"--output {name}: the database is a standby, which cannot be written; name its primary")
    found = run(
        connection,
        "SELECT c.oid::int8, n.nspname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace WHERE c.oid = to_regclass($1)",
        (quoted_table(table),),
    )
    schema = found[0][1] if found else table[-2] if len(table) > 1 else here
    there = run(
        connection, "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1", (schema,)
    )
    if not there or schema is None:
        raise UsageError(
            f"--output {name}: there is no schema {schema} in {without_query(database.address())}; make it first"
        )
    if not there[0][0]:
        raise UsageError(
            f"--output {name}: the user {user} may not make tables in the schema {schema}, where rows are put aside; "
            f"let its owner say GRANT CREATE ON SCHEMA {quoted(schema)} TO {quoted(user)}"
        )
    called = (schema, table[-1])
    if not found:
        return Target(called, False)
    oid, _, kind = found[0]
    if kind not in "rp":
        raise UsageError(f"--output {name}: {'.'.join(table)} is no table; name one")
    for right in NEEDS[mode]:
        if not run(connection, "SELECT has_table_privilege($1::oid, $2)", (oid, right))[0][0]:
            raise UsageError(
                f"--output {name}: the user {user} may not {right} there; let its owner say GRANT {right} ON "
                f"{quoted_table(called)} TO {quoted(user)}"
            )
    rows = run(connection, _COLUMNS, (oid,))
    columns = pa.schema([pa.field(one.name, one.type) for one in columns_of(connection, quoted_table(called))])
    return Target(
        called,
        True,
        columns,
        tuple((row[0], row[1]) for row in rows),
        tuple(row[0] for row in rows if row[2]),
        tuple(row[0] for row in rows if row[3]),
    )


def sqlite_target(database: Database, name: str, table: tuple[str, ...], mode: str) -> Target:
    """The table of an SQLite file.

    Raises:
        UsageError: the file is none, or cannot be written.
    """
    called, path = ("main", table[-1]), database.path
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"--output {name}: there is no folder {folder}; make it first")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK) or not os.access(folder, os.W_OK):
        raise UsageError(f"--output {name}: {path} may not be written, or files beside it; give one that may be")
    if not os.path.exists(path):
        return Target(called, False)
    connection = connect(database, "--output")
    try:
        kinds = run(connection, "SELECT type FROM sqlite_master WHERE name = ?1 COLLATE NOCASE", (table[-1],))
        if kinds and kinds[0][0] != "table":
            raise UsageError(f"--output {name}: {table[-1]} is no table, it is a {kinds[0][0]}; name another")
        sql = (
            'SELECT name, type, "notnull" = 1 AND dflt_value IS NULL AND pk = 0, hidden > 1 FROM pragma_table_xinfo(?1)'
        )
        rows = run(connection, sql, (table[-1],))
    except Exception as error:
        if not is_adbc(error):
            raise
        raise UsageError(f"--output {name}: {told(error)}") from None
    finally:
        connection.close()
    return Target(
        called,
        bool(kinds),
        types=tuple((row[0], row[1]) for row in rows),
        needed=tuple(row[0] for row in rows if row[2]),
        made=tuple(row[0] for row in rows if row[3]),
    )
