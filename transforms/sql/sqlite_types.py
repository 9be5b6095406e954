"""What columns of SQLite are read as: by what their values are, as what they are declared as decides little."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.cast import CannotCast, cast_exactly
from beamsplit.transforms.sql.database import run
from beamsplit.transforms.sql.names import quoted
from beamsplit.transforms.sql.query import SqlColumn

SAMPLED_ROWS = 10_000
"""Values of so many rows tell a column's type; those of another kind fail their rows."""

EXACT = 2**53
"""Whole numbers up to here are floats."""


def columns_of(connection: Any, relation: str, text: str | None, table: str) -> tuple[SqlColumn, ...]:
    """The columns of a table or query.

    Args:
        connection: to the database.
        relation: what stands behind FROM.
        text: of the query; None of a table.
        table: its name.
    """
    if text is not None:
        table = "beamsplit_query"
        run(connection, f"CREATE TEMP VIEW {table} AS\n{text}\n")
    told = run(connection, "SELECT name, type FROM pragma_table_xinfo(?1) WHERE hidden <> 1", (table,))
    if text is not None:
        run(connection, f"DROP VIEW temp.{table}")
    names = [name for name, _ in told]
    twice = [name for name in names if names.count(name) > 1 or f"{name}:1" in names]
    if twice:
        raise UsageError(f"the query has several columns named {twice[0]!r}; give each its own name with AS")
    kinds = ", ".join(f"group_concat(DISTINCT typeof({quoted(name)}))" for name in names)
    seen = run(connection, f"SELECT {kinds} FROM (SELECT * FROM {relation} LIMIT {SAMPLED_ROWS})")[0]
    return tuple(
        _column(connection, relation, name, str(declared or "").upper(), set((found or "").split(",")) - {"null", ""})
        for (name, declared), found in zip(told, seen, strict=True)
    )


def _column(connection: Any, relation: str, name: str, declared: str, kinds: set[str]) -> SqlColumn:
    sql = quoted(name)
    affinity = _affinity(declared)
    kinds = kinds or {{"integer": "integer", "real": "real", "numeric": "real"}.get(affinity, "text")}
    if affinity in ("integer", "real", "numeric") and kinds & {"integer", "real"}:
        kinds &= {"integer", "real"}  # A text among numbers is none of them.
    if kinds == {"integer"} and affinity in ("integer", "none"):
        bad = f"typeof({sql}) NOT IN ('integer', 'null')"
        return SqlColumn(name, sql, pa.int64(), bad, "is no whole number", True)
    if kinds == {"integer"} and declared.startswith("BOOL"):
        bad = f"typeof({sql}) NOT IN ('integer', 'null') OR {sql} NOT IN (0, 1)"
        return SqlColumn(name, sql, pa.bool_(), bad, "is neither 0 nor 1", driver_type=pa.int64())
    if kinds <= {"integer", "real"}:
        wide = f"typeof({sql}) = 'integer' AND {sql} NOT BETWEEN {-EXACT} AND {EXACT}"
        bad = f"typeof({sql}) NOT IN ('integer', 'real', 'null') OR {wide}"
        return SqlColumn(name, sql, pa.float64(), bad, "is no number that a float64 holds", True)
    if kinds == {"text"}:
        bad = f"typeof({sql}) NOT IN ('text', 'null')"
        kind = _time_type(connection, relation, sql, declared)
        if kind is not None:
            return SqlColumn(name, sql, kind, bad, f"is no {kind}", driver_type=pa.string())
        return SqlColumn(name, sql, pa.string(), bad, "is no text", True)
    if kinds == {"blob"}:
        return SqlColumn(name, sql, pa.binary(), f"typeof({sql}) NOT IN ('blob', 'null')", "is no blob")
    cast = f"CAST({sql} AS TEXT)"
    return SqlColumn(name, cast, pa.string(), f"typeof({sql}) = 'blob'", "is a blob, and others are texts or numbers")


def _affinity(declared: str) -> str:
    """https://www.sqlite.org/datatype3.html, section 3.1."""
    if "INT" in declared:
        return "integer"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if not declared or "BLOB" in declared:
        return "none"
    return "real" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "numeric"


def _time_type(connection: Any, relation: str, sql: str, declared: str) -> pa.DataType | None:
    """The type of a column that is declared as one of times, where its texts are such."""
    kind = {"DATE": pa.date32(), "DATETIME": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us")}.get(declared)
    if kind is None:
        return None
    rows = run(connection, f"SELECT {sql} FROM {relation} WHERE {sql} IS NOT NULL LIMIT 1000")
    try:
        _, wrong = cast_exactly(pa.array([row[0] for row in rows], pa.string()), kind)
    except CannotCast:
        return None
    return None if len(wrong) else kind
