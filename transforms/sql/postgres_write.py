"""Predictions in a table of PostgreSQL: COPY into a staging table by all workers, then one transaction.

    submitter   lock on the job's number; CREATE UNLOGGED TABLE beamsplit_stage_...  ----------- DROP it, if it is there
    bundles         BEGIN; COPY; COMMIT    BEGIN; COPY; COMMIT
    last step                                                  BEGIN; INSERT INTO table SELECT ...; DROP TABLE; COMMIT

Who holds the lock lives: a staging table whose lock can be had was left by a job that was killed, and the next job that
writes into its schema drops it.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from time import sleep
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.sql.database import Database, connect, is_adbc, run, state, told
from beamsplit.transforms.sql.held import until_done
from beamsplit.transforms.sql.merge_keys import check_merge_keys
from beamsplit.transforms.sql.names import quoted, quoted_table
from beamsplit.transforms.sql.records import ATTEMPTS, FIXES, NO_COLUMNS, TABLE, TRIED_AGAIN, Aside, TableRefused

PREFIX, BUNDLE = "beamsplit_stage_", "beamsplit_bundle"
"""Of the names of staging tables, and their column that tells bundles apart."""

COPY_BYTES = 16 << 20
"""Rows are sent in pieces of about so many bytes."""

LOCK_SECONDS = 30
"""How long others that hold the table are waited for in an attempt."""


def type_of(kind: pa.DataType) -> str:
    """PostgreSQL's type for a column of `transforms.tables.columns.table_schema`.

    >>> type_of(pa.list_(pa.float32())), type_of(pa.timestamp("us", "UTC"))
    ('real[]', 'timestamptz')

    Raises:
        TypeError: it has none.
    """
    types = pa.types
    if types.is_list(kind) and not types.is_list(kind.value_type):
        return f"{type_of(kind.value_type)}[]"
    if types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    found = {
        pa.bool_(): "boolean",
        pa.int8(): "smallint",
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float32(): "real",
        pa.float64(): "double precision",
        pa.string(): "text",
        pa.binary(): "bytea",
        pa.date32(): "date",
        pa.time64("us"): "time",
    }.get(kind)
    if found is None:
        raise TypeError(f"PostgreSQL has no column of {kind}")
    return found


@dataclass(frozen=True)
class PostgresStage:
    """A table that a job writes, and the staging table beside it."""

    database: Database
    name: str
    """As it is typed."""

    table: tuple[str, str]
    """(schema, table)."""

    mode: str
    """`"error"` (it must not be there), `"append"`, `"overwrite"` or `"merge"`."""

    job: str
    """What the commit is known by."""

    merge_on: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    """(column, type) of the table that is there."""

    columns: pa.Schema = NO_COLUMNS
    """Those that are written, once they are known."""

    told: tuple[tuple[str, str], ...] = ()
    """What is told of the job."""

    staging: str = ""
    """Name of the staging table."""

    @property
    def staged(self) -> str:
        """The staging table in SQL."""
        return quoted_table((self.table[0], self.staging))

    def is_done(self) -> bool:
        """Whether the table has these rows, by an earlier run."""
        with connect(self.database, "--output") as connection:
            there = run(connection, "SELECT to_regclass($1)::text", (quoted_table((self.table[0], TABLE)),))
            return there[0][0] is not None and bool(self._known(connection))

    def _known(self, connection: Any) -> list[tuple[Any, ...]]:
        commits = quoted_table((self.table[0], TABLE))
        return run(connection, f"SELECT 1 FROM {commits} WHERE table_name = $1 AND job = $2", (self.table[1], self.job))

    def begin(self) -> None:
        """Make the staging table, which goes with this process; drop those of processes that are gone."""
        connection = connect(self.database, "--output")
        until_done(lambda: self._end(connection))
        run(connection, f"SET lock_timeout = '{LOCK_SECONDS}s'")
        schema, _ = self.table
        found = run(
            connection,
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND starts_with(c.relname::text, $2) AND pg_has_role(c.relowner, 'USAGE')",
            (schema, PREFIX),
        )
        for (name,) in found:
            ((free,),) = run(connection, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", (name,))
            if free:
                with contextlib.suppress(Exception):
                    run(connection, f"DROP TABLE IF EXISTS {quoted_table((schema, name))}")
                run(connection, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", (name,))
        run(connection, "SELECT pg_advisory_lock(hashtextextended($1, 0))", (self.staging,))
        fields = [f"{quoted(field.name)} {type_of(field.type)}" for field in self.columns]
        run(connection, f"CREATE UNLOGGED TABLE {self.staged} ({', '.join(fields)}, {BUNDLE} bigint NOT NULL)")

    def _end(self, connection: Any) -> None:
        with contextlib.suppress(Exception):  # It is gone, or the server: the next job drops it.
            run(connection, f"DROP TABLE IF EXISTS {self.staged}")
        with contextlib.suppress(Exception):
            connection.close()

    def bundle(self, folder: str) -> PostgresBundle:
        """Begin a bundle."""
        return PostgresBundle(self)

    def commit(self, records: Sequence[Aside]) -> None:
        """Make the rows the table's in one transaction; a second call finds that it is done.

        Raises:
            TableRefused: the database refuses, and nothing is changed.
        """
        for attempt in range(ATTEMPTS):
            try:
                connection = connect(self.database, "--output")
                try:
                    self._commit(connection, records)
                finally:
                    connection.close()
                return
            except TableRefused:
                raise
            except Exception as error:
                # Without a state the connection broke: whether it was committed, the next attempt finds.
                lost = isinstance(error, UsageError) or (is_adbc(error) and not state(error))
                if not lost and not is_adbc(error):
                    raise
                if (not lost and state(error) not in TRIED_AGAIN) or attempt + 1 == ATTEMPTS:
                    raise TableRefused(self._why(error, lost)) from None
                sleep(random.uniform(0, 0.1 * (attempt + 1)))

    def _why(self, error: BaseException, lost: bool) -> str:
        why = told(error, self.database)
        if lost:
            commits = quoted_table((self.table[0], TABLE))
            return f"{self.name} could not be written ({why}), or just was: {commits} tells, with the job {self.job}"
        return f"{self.name} could not be written, and is as it was: {why}{FIXES.get(state(error), '')}"

    def _commit(self, connection: Any, records: Sequence[Aside]) -> None:
        commits = quoted_table((self.table[0], TABLE))
        rows = sum(record.rows for record in records)
        if run(connection, "SELECT to_regclass($1)::text", (commits,))[0][0] is None:
            run(
                connection,
                f"CREATE TABLE IF NOT EXISTS {commits} (table_name text, job text, rows bigint, model_version text, "
                "committed_at timestamptz DEFAULT now(), PRIMARY KEY (table_name, job))",
            )
        run(connection, "BEGIN")
        run(connection, f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        version = dict(self.told).get("beamsplit.model_version", "")
        first = run(
            connection,
            f"INSERT INTO {commits} (table_name, job, rows, model_version) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT DO NOTHING RETURNING 1",
            (self.table[1], self.job, rows, version),
        )
        if not first:
            return
        self._check_staged(connection, records, rows)
        self._move(connection)
        run(connection, f"DROP TABLE {self.staged}")
        run(connection, "COMMIT")

    def _check_staged(self, connection: Any, records: Sequence[Aside], rows: int) -> None:
        """Leave the rows of the records only, and see that all of them are there: a server that crashed empties it."""
        bundles = ",".join(str(int(record.name)) for record in records)
        run(connection, f"DELETE FROM {self.staged} WHERE {BUNDLE} <> ALL (ARRAY[{bundles}]::bigint[])")
        ((there,),) = run(connection, f"SELECT count(*) FROM {self.staged}")
        if there != rows:
            raise TableRefused(
                f"{self.name} could not be written, and is as it was: of {rows:,} rows that were put aside "
                f"{there:,} are there; did the server crash meanwhile? Run the job again"
            )
        check_merge_keys(connection, self.staged, self.merge_on)

    def _move(self, connection: Any) -> None:
        target = quoted_table(self.table)
        there = run(connection, "SELECT to_regclass($1)::text", (target,))[0][0] is not None
        if there and self.mode == "error":
            raise TableRefused(f"{self.name} is there by now, and is not written without --append or --overwrite")
        types = dict(self.types) if there else {}
        names = self.columns.names
        if not there:
            fields = [f"{quoted(field.name)} {type_of(field.type)}" for field in self.columns]
            run(connection, f"CREATE TABLE {target} ({', '.join(fields)})")
        elif self.mode in ("overwrite", "merge"):
            run(connection, f"LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE")
        values = {name: f"s.{quoted(name)}" + (f"::{types[name]}" if name in types else "") for name in names}
        same = " AND ".join(f"t.{quoted(key)} = {values[key]}" for key in self.merge_on)
        if there and self.mode == "overwrite":
            run(connection, f"DELETE FROM {target}")
        rest = [name for name in names if name not in self.merge_on]
        if there and self.mode == "merge" and rest:
            changed = ", ".join(f"{quoted(name)} = {values[name]}" for name in rest)
            run(connection, f"UPDATE {target} t SET {changed} FROM {self.staged} s WHERE {same}")
        new = f" WHERE NOT EXISTS (SELECT 1 FROM {target} t WHERE {same})" if there and self.mode == "merge" else ""
        run(
            connection,
            f"INSERT INTO {target} ({', '.join(map(quoted, names))}) "
            f"SELECT {', '.join(values.values())} FROM {self.staged} s{new}",
        )


class PostgresBundle:
    """Rows of a bundle, in a transaction of their own."""

    def __init__(self, stage: PostgresStage) -> None:
        self._stage = stage
        self._id = secrets.randbits(62)
        self._rows, self._bytes = 0, 0
        self._waiting: list[pa.RecordBatch] = []
        self._connection = connect(stage.database, "--output")
        self._cursor = self._connection.cursor()
        self._cursor.execute("BEGIN")

    def write(self, block: pa.RecordBatch) -> None:
        """Add rows; they are sent once there are enough."""
        self._waiting.append(block)
        self._rows += block.num_rows
        self._bytes += block.nbytes
        if self._bytes >= COPY_BYTES:
            self._send()

    def _send(self) -> None:
        if not self._waiting:
            return
        schema = self._stage.columns
        fields = pa.schema([*schema, pa.field(BUNDLE, pa.int64())])
        batches = [
            pa.RecordBatch.from_arrays(
                [*block.select(schema.names).columns, pa.repeat(pa.scalar(self._id, pa.int64()), block.num_rows)],
                schema=fields,
            )
            for block in self._waiting
        ]
        self._waiting, self._bytes = [], 0
        reader = pa.RecordBatchReader.from_batches(fields, batches)
        try:
            self._cursor.adbc_ingest(self._stage.staging, reader, mode="append", db_schema_name=self._stage.table[0])
        except Exception as error:
            if not is_adbc(error):
                raise
            raise TableRefused(
                f"{self._stage.name} could not be written: {told(error, self._stage.database)}"
            ) from None

    def close(self) -> Aside:
        """Commit them to the staging table."""
        self._send()
        self._cursor.execute("COMMIT")
        self.abort()
        return Aside(str(self._id), self._rows)

    def abort(self) -> None:
        """Leave the transaction."""
        self._waiting = []
        with contextlib.suppress(Exception):
            self._cursor.close()
        with contextlib.suppress(Exception):
            self._connection.close()
