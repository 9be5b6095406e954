"""Predictions in a table of an SQLite file: workers write files of Arrow beside it, one transaction takes them in.

SQLite lets one connection write at a time, so that workers would only wait for one another.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.transforms.sql.database import Database, connect, is_adbc, run, told
from beamsplit.transforms.sql.merge_keys import check_merge_keys
from beamsplit.transforms.sql.names import quoted
from beamsplit.transforms.sql.records import ATTEMPTS, NO_COLUMNS, TABLE, Aside, TableRefused
from beamsplit.transforms.sql.sqlite import BUSY_MS

STAGE = "beamsplit_stage"
"""The temporary table of the connection that commits."""


def type_of(kind: pa.DataType) -> str:
    """What a column is declared as.

    >>> type_of(pa.int64()), type_of(pa.string())
    ('INTEGER', 'TEXT')
    """
    if pa.types.is_integer(kind):
        return "INTEGER"
    return "REAL" if pa.types.is_floating(kind) else "BLOB" if pa.types.is_binary(kind) else "TEXT"


@dataclass(frozen=True)
class SqliteStage:
    """A table that a job writes, and the files that its workers write before."""

    database: Database
    name: str
    """As it is typed."""

    table: str
    mode: str
    """`"error"` (it must not be there), `"append"`, `"overwrite"` or `"merge"`."""

    job: str
    """What the commit is known by."""

    merge_on: tuple[str, ...] = ()
    columns: pa.Schema = NO_COLUMNS
    """Those that are written, once they are known: whole numbers, floats, texts, bytes."""

    declared: tuple[tuple[str, str], ...] = ()
    """(column, what it is declared as), of a table that is made."""

    told: tuple[tuple[str, str], ...] = ()
    """What is told of the job."""

    def is_done(self) -> bool:
        """Whether the table has these rows, by an earlier run."""
        if not os.path.isfile(self.database.path):
            return False
        with connect(self.database, "--output") as connection:
            return bool(_tables(connection, TABLE)) and bool(self._known(connection))

    def _known(self, connection: Any) -> list[tuple[Any, ...]]:
        return run(connection, f"SELECT 1 FROM {TABLE} WHERE table_name = ?1 AND job = ?2", (self.table, self.job))

    def begin(self) -> None:
        """Nothing has to be there."""

    def bundle(self, folder: str) -> SqliteBundle:
        """Begin a bundle, in a file of its own."""
        return SqliteBundle(folder, self.columns)

    def commit(self, records: Sequence[Aside]) -> None:
        """Make the rows the table's in one transaction; a second call finds that it is done.

        Raises:
            TableRefused: SQLite refuses, and nothing is changed.
        """
        made = not os.path.exists(self.database.path)
        for attempt in range(ATTEMPTS):
            try:
                if made:
                    # An empty file is a database; one that nothing was written to is taken away again.
                    os.close(os.open(self.database.path, os.O_CREAT | os.O_WRONLY, 0o666))
                connection = connect(self.database, "--output")
                try:
                    self._commit(connection, records)
                finally:
                    connection.close()
                return
            except BaseException as error:
                if made and os.path.exists(self.database.path) and not os.path.getsize(self.database.path):
                    os.unlink(self.database.path)
                if not is_adbc(error):
                    raise
                why = told(error)
                if "locked" not in why or attempt + 1 == ATTEMPTS:
                    fix = "; --merge_on COLUMN replaces rows of the same key" if "UNIQUE" in why else ""
                    raise TableRefused(f"{self.name} could not be written, and is as it was: {why}{fix}") from None
                time.sleep(random.uniform(0, 0.1 * (attempt + 1)))

    def _commit(self, connection: Any, records: Sequence[Aside]) -> None:
        run(connection, f"PRAGMA busy_timeout = {BUSY_MS}")
        run(connection, "PRAGMA foreign_keys = ON")
        names = ", ".join(quoted(field.name) for field in self.columns)
        # Without types, so that values stay as they are until they are the table's.
        run(connection, f"CREATE TEMP TABLE {STAGE} ({names})")
        run(connection, "BEGIN IMMEDIATE")
        run(connection, f"CREATE TABLE IF NOT EXISTS {TABLE} (table_name TEXT, job TEXT, rows INTEGER, model_version "
            "TEXT, committed_at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (table_name, job))")  # fmt: skip
        if self._known(connection):
            return
        rows = sum(record.rows for record in records)
        version = dict(self.told).get("beamsplit.model_version", "")
        run(connection, f"INSERT INTO {TABLE} (table_name, job, rows, model_version) VALUES (?1, ?2, ?3, ?4)",
            (self.table, self.job, rows, version))  # fmt: skip
        reader = pa.RecordBatchReader.from_batches(self.columns, _batches(records))
        with connection.cursor() as cursor:
            cursor.adbc_ingest(STAGE, reader, mode="append", temporary=True)
        check_merge_keys(connection, f"temp.{STAGE}", self.merge_on)
        self._move(connection)
        run(connection, "COMMIT")

    def _move(self, connection: Any) -> None:
        target = f"main.{quoted(self.table)}"
        there = bool(_tables(connection, self.table))
        if there and self.mode == "error":
            raise TableRefused(f"{self.name} is there by now, and is not written without --append or --overwrite")
        names = [quoted(name) for name in self.columns.names]
        if not there:
            declared = dict(self.declared)
            fields = [f"{quoted(f.name)} {declared.get(f.name) or type_of(f.type)}" for f in self.columns]
            run(connection, f"CREATE TABLE {target} ({', '.join(fields)})")
        elif self.mode == "overwrite":
            run(connection, f"DELETE FROM {target}")
        new = ""
        if there and self.mode == "merge":
            keys = [quoted(key) for key in self.merge_on]
            same = " AND ".join(f"{quoted(self.table)}.{key} = s.{key}" for key in keys)
            rest = [name for name in names if name not in keys]
            if rest:
                changed = ", ".join(f"{name} = s.{name}" for name in rest)
                run(connection, f"UPDATE {target} SET {changed} FROM temp.{STAGE} AS s WHERE {same}")
            new = f" WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {same})"
        run(
            connection,
            f"INSERT INTO {target} ({', '.join(names)}) SELECT {', '.join(names)} FROM temp.{STAGE} AS s{new}",
        )


def _tables(connection: Any, name: str) -> list[tuple[Any, ...]]:
    return run(connection, "SELECT name FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND type = 'table'", (name,))


def _batches(records: Sequence[Aside]) -> Iterator[pa.RecordBatch]:
    for record in records:
        rows = 0
        with pa.memory_map(record.name) as file:
            for batch in pa.ipc.open_stream(file):
                rows += batch.num_rows
                yield batch
        if rows != record.rows:
            raise TableRefused(f"{record.name} has {rows:,} rows, and {record.rows:,} were written; run the job again")


class SqliteBundle:
    """Rows of a bundle, in a file."""

    def __init__(self, folder: str, columns: pa.Schema) -> None:
        os.makedirs(folder, exist_ok=True)
        self._path = os.path.join(os.path.abspath(folder), uuid.uuid4().hex)
        self._writer = pa.ipc.new_stream(self._path, columns)
        self._schema, self._rows = columns, 0

    def write(self, block: pa.RecordBatch) -> None:
        """Add rows."""
        self._writer.write_batch(pa.RecordBatch.from_arrays(block.columns, schema=self._schema))
        self._rows += block.num_rows

    def close(self) -> Aside:
        """Finish the file."""
        self._writer.close()
        return Aside(self._path, self._rows)

    def abort(self) -> None:
        """Delete it."""
        with contextlib.suppress(Exception):
            self._writer.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
