"""Tables and queries of PostgreSQL: columns, ranges, and the snapshot that all workers read.

    submitter   BEGIN; pg_export_snapshot() ------------- held until the job is done -------------
    worker          BEGIN; SET TRANSACTION SNAPSHOT; COPY (SELECT ... WHERE ctid >= ... AND ctid < ...)

Tables are read in ranges of pages (`ctid`): every row has one, they are of one size whatever the keys are, and none has
to be sorted or searched for. Views and queries are read in ranges of `--key`, or as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.sql.database import Database, connect, is_adbc, run, told, without_query
from beamsplit.transforms.sql.held import until_done
from beamsplit.transforms.sql.names import quoted, quoted_table
from beamsplit.transforms.sql.postgres_types import column_of
from beamsplit.transforms.sql.query import PIECES, Asked, SqlColumn, SqlQuery, one_of_each

SAMPLED_ROWS = 30_000
"""Of a table's keys so many are looked at to find ranges of about as many rows."""

_TABLE = """
SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text,
  CASE WHEN has_table_privilege(c.oid, 'SELECT') THEN coalesce(a.amname::text, '') ELSE '' END,
  has_any_column_privilege(c.oid, 'SELECT'), current_user::text, c.reltuples::float8,
  (SELECT coalesce(sum(pg_relation_size(t.relid)), 0)::int8 FROM pg_partition_tree(c.oid) t),
  (SELECT coalesce(max(pg_relation_size(t.relid)), 0)::int8 FROM pg_partition_tree(c.oid) t),
  (SELECT coalesce(sum(greatest(p.reltuples, 0)), 0)::float8 FROM pg_partition_tree(c.oid) t
    JOIN pg_class p ON p.oid = t.relid AND t.isleaf),
  has_table_privilege(c.oid, 'SELECT') AND
  (SELECT bool_and(p.relkind IN ('r', 'm') AND m.amname = 'heap') FROM pg_partition_tree(c.oid) t
    JOIN pg_class p ON p.oid = t.relid AND t.isleaf LEFT JOIN pg_am m ON m.oid = p.relam),
  current_setting('block_size')::int8, pg_relation_size(c.oid)::int8, has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.oid = to_regclass($1)
"""

_INTEGER_KEY = """
SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $1::oid AND i.indisprimary AND i.indnkeyatts = 1 AND a.atttypid IN (20, 21, 23)
  AND has_column_privilege(i.indrelid, a.attnum, 'SELECT')
"""


_READABLE = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = $1::oid AND attnum > 0 AND has_column_privilege(attrelid, attnum, 'SELECT')
"""


def describe(asked: Asked) -> tuple[SqlQuery, int, tuple[str, ...]]:
    """(what is asked, about how many bytes it has, notes for the user); its snapshot is held until the job is done.

    Raises:
        UsageError: there is none, it may not be read, or the key is none.
    """
    connection = connect(asked.database, "--input")
    try:
        query, size, notes = _described(connection, asked)
    except BaseException as error:
        connection.close()
        if is_adbc(error):
            raise UsageError(f"--input {asked.name}: {told(error, asked.database)}") from None
        raise
    until_done(connection.close)
    return query, size, notes


def _described(connection: Any, asked: Asked) -> tuple[SqlQuery, int, tuple[str, ...]]:
    database, name, table, text, key, limit = asked
    run(connection, "SET idle_in_transaction_session_timeout = 0")
    run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    ((standby,),) = run(connection, "SELECT pg_is_in_recovery()")
    snapshot = None if standby else str(run(connection, "SELECT pg_export_snapshot()")[0][0])
    notes: list[str] = []
    by, by_type, number, size = "", "", "", 0
    bounds: tuple[int | str, ...] = ()
    rows: int | None = None
    heap, sampled = False, ""
    found: dict[str, Any] | None = None
    if text is None:
        found = _table(connection, database, name, table)
        relation = f"{quoted(found['schema'])}.{quoted(found['table'])}"
        run(connection, f"SELECT 1 FROM {relation} LIMIT 0")  # Locks it: nobody drops or rewrites it meanwhile.
        heap, size, rows = found["heap"], found["size"], found["rows"]
        if heap and limit is None and key is None:
            by, by_type, bounds = "ctid", "tid", _pages(found["pages"])
        if heap and rows is not None and rows > 4 * SAMPLED_ROWS:
            sampled = f" TABLESAMPLE SYSTEM ({min(100.0, 100 * SAMPLED_ROWS / rows):.6f})"
        integer = run(connection, _INTEGER_KEY, (found["oid"],))
        number = quoted(integer[0][0]) if integer else ""
    else:
        relation = f"(\n{text}\n) AS q"
    columns = columns_of(connection, relation)
    if found is not None and not found["all"]:
        may = {row[0] for row in run(connection, _READABLE, (found["oid"],))}
        columns = tuple(column for column in columns if column.name in may)
    names = [column.name for column in columns]
    if key is not None and key not in names:
        raise UsageError(f"--key names the column {key!r}, and {name} has {', '.join(names[:20])}; name one of them")
    if not heap and (found is None or found["all"]):
        rows, size = _estimated(connection, relation)
    nulls = False
    if limit is not None:
        ordered = f" ORDER BY {quoted(key)}" if key else ""
        relation, by = f"(SELECT * FROM {relation}{ordered} LIMIT {limit}) AS q", ""
        rows, size, number = min(rows or limit, limit), min(size, limit * 1_000), number
    elif snapshot is None:
        by, bounds = "", ()
        notes.append(f"{name} is read by one worker: the database is a standby, which gives no snapshot to others")
    elif key is not None:
        by, nulls = quoted(key), True
        by_type, bounds = _key_bounds(connection, relation + sampled, by, key)
    elif not by:
        what = "a query" if text is not None else "no plain table"
        notes.append(f"{name} is read by one worker, as it is {what}; name a column with --key to read it in ranges")
    for column in columns:
        if column.why.startswith("note:"):
            notes.append(f"{name}: {column.why.removeprefix('note:')}")
    query = SqlQuery(
        database, name, relation, columns, by, by_type, bounds, nulls, number, rows if rows != 0 else None, snapshot
    )
    return query, max(1, size), tuple(notes)


def _table(connection: Any, database: Database, name: str, table: tuple[str, ...]) -> dict[str, Any]:
    found = run(connection, _TABLE, (quoted_table(table),))
    if not found:
        folded = tuple(part.lower() for part in table)
        hint = ""
        if folded != table and run(connection, "SELECT to_regclass($1)::text", (quoted_table(folded),))[0][0]:
            hint = f"; there is {'.'.join(folded)}"
        raise UsageError(
            f"--input {name}: there is no table {'.'.join(table)} in {without_query(database.address())}{hint}; type "
            "#schema.table as it is called there"
        )
    oid, kind, schema, called, method, readable, user, tuples, whole, largest, of_parts, heaps, block, own, full = (
        found[0]
    )
    if kind not in "rmpvf":
        raise UsageError(f"--input {name}: {'.'.join(table)} is no table, view or query; name one")
    if not readable:
        raise UsageError(
            f"--input {name}: the user {user} may not read it; let its owner say GRANT SELECT ON "
            f"{quoted(schema)}.{quoted(called)} TO {quoted(user)}"
        )
    heap = bool(heaps) if kind == "p" else kind in "rm" and method == "heap"
    rows = of_parts if kind == "p" else max(tuples, 0)
    size, longest = (whole, largest) if kind == "p" else (own, own)
    return {
        "oid": oid,
        "schema": schema,
        "table": called,
        "heap": heap,
        "all": full,
        "rows": int(rows) or None,
        "size": size,
        "pages": -(-longest // block),
    }


def _pages(pages: int) -> tuple[int, ...]:
    """Page numbers where ranges begin; the last has no end, as a table may grow until the snapshot is taken."""
    step = max(1, -(-pages // PIECES))
    return tuple(range(step, pages, step))


def columns_of(connection: Any, relation: str) -> tuple[SqlColumn, ...]:
    """The columns of a table or query in parentheses.

    Raises:
        UsageError: two are called alike.
    """
    with connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema(f"SELECT * FROM {relation}")
    unknown = {}
    for field in schema:
        told_type = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
        if found := re.fullmatch(r"unnamed<oid:(\d+)>", told_type):
            name = run(connection, "SELECT typname::text FROM pg_type WHERE oid = $1::oid", (int(found[1]),))
            unknown[told_type] = name[0][0] if name else told_type
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise UsageError(f"the query has several columns named {twice[0]!r}; give each its own name with AS")
    return tuple(column_of(field, unknown) for field in schema)


def _estimated(connection: Any, relation: str) -> tuple[int, int]:
    """(rows, bytes) as the planner expects them."""
    plan = run(connection, f"EXPLAIN (FORMAT JSON) SELECT * FROM {relation}", use_copy=False)[0][0]
    top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return int(top["Plan Rows"]), int(top["Plan Rows"]) * max(1, int(top["Plan Width"]))


def _key_bounds(connection: Any, relation: str, sql: str, key: str) -> tuple[str, tuple[str, ...]]:
    """(the key's type, values that as many rows lie between)."""
    kind = run(connection, f"SELECT pg_typeof(k)::text FROM (VALUES (1)) v LEFT JOIN (SELECT {sql} AS k FROM "
               f"{relation} LIMIT 1) s ON true")[0][0]  # fmt: skip
    shares = ",".join(f"{at / PIECES:.6f}" for at in range(1, PIECES))
    try:
        found = run(
            connection,
            f"SELECT percentile_disc(ARRAY[{shares}]::float8[]) WITHIN GROUP (ORDER BY k)::text[] "
            f"FROM (SELECT {sql} AS k FROM {relation}) s WHERE k IS NOT NULL",
        )
    except Exception as error:
        if not is_adbc(error) or getattr(error, "sqlstate", "") not in ("42883", "42P22"):
            raise
        raise UsageError(f"--key {key}: its type {kind} has no order; name another column") from None
    return kind, tuple(str(one) for one in one_of_each(found[0][0] or []))


class Parameters:
    """Values of a statement that is sent as COPY, which takes none: settings of the transaction hold them."""

    def __init__(self) -> None:
        self._values: list[str] = []

    def add(self, value: str, kind: str) -> str:
        """What stands for a value of a type of PostgreSQL."""
        self._values.append(value)
        return f"current_setting('beamsplit.p{len(self._values) - 1}')::{kind}"

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def forget(self, count: int) -> None:
        """Have only the first of them."""
        del self._values[count:]

    def scalar(self, value: pa.Scalar) -> str | None:
        """What stands for a value of Arrow's; None where it has no counterpart."""
        kind = value.type
        if pa.types.is_integer(kind):
            return self.add(str(value.as_py()), "int8")
        if pa.types.is_floating(kind):
            return self.add(repr(float(value.as_py())), "float8")
        if pa.types.is_decimal(kind):
            return self.add(str(value.as_py()), "numeric")
        if pa.types.is_string(kind):
            return None if "\0" in value.as_py() else self.add(value.as_py(), "text")
        try:
            told_value = value.as_py().isoformat()
        except (ValueError, OverflowError, AttributeError):
            return None
        if pa.types.is_date(kind):
            return self.add(told_value, "date")
        if pa.types.is_timestamp(kind):
            return self.add(told_value, "timestamp" if kind.tz is None else "timestamptz")
        return None

    def set(self, connection: Any) -> None:
        """Tell the transaction."""
        for at, value in enumerate(self._values):
            run(connection, f"SELECT set_config('beamsplit.p{at}', $1, true)", (value,))


def range_sql(query: SqlQuery, low: Any, high: Any, nulls: bool, given: Parameters) -> list[str]:
    """Conditions for a range of the query."""
    if nulls:
        return [f"{query.by} IS NULL"]
    if query.by_type == "tid":
        ends = [(">=", low), ("<", high)]
        return [f"ctid {op} '({page},0)'::tid" for op, page in ends if page is not None]
    parts = [f"{query.by} {op} {given.add(str(end), query.by_type)}" for op, end in ((">=", low), ("<", high))
             if end is not None]  # fmt: skip
    return parts or ([f"{query.by} IS NOT NULL"] if query.nulls else [])


@contextmanager
def reading(query: SqlQuery) -> Iterator[Any]:
    """A connection that sees the query's snapshot."""
    connection = connect(query.database, f"--input {query.name}")
    try:
        run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if query.snapshot is not None:
            run(connection, f"SET TRANSACTION SNAPSHOT '{query.snapshot}'")
        yield connection
    finally:
        connection.close()


BINARY, NAN = 'COLLATE "C"', "'NaN'"


def prepare_cursor(cursor: Any) -> None:
    """Batches are as large as the driver makes them."""
