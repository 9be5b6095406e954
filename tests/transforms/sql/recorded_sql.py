"""What names of tables, columns, conditions and ranges become in SQL, in sql.txt.

`python -m tests.transforms.sql.recorded_sql` records it. A case is what is asked, and of what:

    name sqlite:a.db#t          the parts of a table's name, or `!` and why it is none
    secret --input NAME         whether a name has a password in it, and so is refused
    column int4 -1              how a column of a PostgreSQL type, with its typmod, is asked for
    affinity VARCHAR(9)         how SQLite treats a column that is declared so
    held list<float>            what a column of a type is on its way into SQLite
    where x > 1 | postgres      the SQL of a condition, true of at least the rows that it keeps; `| sqlite` has no NaN
    splits 10 5 | 2 n #         of 10 bytes, 5 a split, of a table with two bounds, nulls (n), and a number a row (#)
    uri postgresql://h/d a=b    the address of a database with settings
    told ERROR:  why            what is shown of a driver's error
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.type_names import type_of
from beamsplit.transforms.sql import database
from beamsplit.transforms.sql.columns import sqlite_type
from beamsplit.transforms.sql.database import Database
from beamsplit.transforms.sql.names import check_sql_passwords, parse_sql
from beamsplit.transforms.sql.postgres_types import column_of
from beamsplit.transforms.sql.pushdown import Wider
from beamsplit.transforms.sql.query import SqlQuery, bounds_of, make_splits
from beamsplit.transforms.sql.sqlite_types import _affinity
from beamsplit.transforms.where import bind_where, parse_where
from tests.recorded import Recorded

SCHEMA = pa.schema(
    [
        *[("i", pa.int32()), ("f", pa.float64()), ("s", pa.string()), ("b", pa.bool_()), ("d", pa.date32())],
        *[("odd", pa.int32()), ("gone", pa.int32()), ("mute", pa.string())],
    ]
)
"""`odd` is compared otherwise there, `gone` is not asked for, and of `mute` no value can be told."""


class Values:
    """Of a statement, as SQLite takes them; "mute" is none."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def scalar(self, value: pa.Scalar) -> str | None:
        if value.as_py() == "mute":
            return None
        self.values.append(value.as_py())
        return f"?{len(self.values)}"

    def __len__(self) -> int:
        return len(self.values)

    def forget(self, count: int) -> None:
        del self.values[count:]


def said(line: str) -> str:
    """What comes of a case."""
    what, _, rest = line.partition(" ")
    try:
        return _OF[what](rest)
    except UsageError as error:
        return f"! {error}"


def _name(rest: str) -> str:
    uri, table, file, typed = parse_sql(rest, "--input")
    assert typed == rest
    return f"{uri or '-'} {'|'.join(table) or '-'} {file or '-'}"


def _secret(rest: str) -> str:
    option, name = rest.split(" ", 1)
    check_sql_passwords([("--other", None), (option, name)])
    return "none"


def _column(rest: str) -> str:
    kind, typmod = rest.split()
    metadata = {"POSTGRESQL:type": kind, "POSTGRESQL:typmod": typmod}
    return str(column_of(pa.field('a"b', pa.binary(), metadata=metadata), {"7": "vector"}))


def _where(rest: str) -> str:
    condition, _, kind = rest.partition(" | ")
    node = bind_where(parse_where(condition), SCHEMA)

    def find(name: str) -> tuple[str, bool] | None:
        return None if name == "gone" else (name, name != "odd")

    given = Values()
    made = Wider(find, given, 'COLLATE "C"', "'NaN'" if kind == "postgres" else None)(node) or "all"
    return made if not given.values else f"{made} with {','.join(map(str, given.values))}"


def _splits(rest: str) -> str:
    sizes, _, about = rest.partition(" | ")
    size, target = map(int, sizes.split())
    bounds, *flags = about.split()
    query = SqlQuery(
        Database("sqlite:a.db"), "sqlite:a.db#t", "t", (), "k", "int", tuple(range(0, 10 * int(bounds), 10)),
        nulls="n" in flags, number="rowid" if "#" in flags else "",
    )  # fmt: skip
    found = make_splits(query, "p", size, 3, target)
    told = [f"{one.paths[0]} {one.order} {one.start}-{one.stop} {one.weight} {bounds_of(query, one)}" for one in found]
    return "; ".join(told)


def _uri(rest: str) -> str:
    uri, *settings = rest.split()
    return database._postgres_uri(uri, dict(one.split("=", 1) for one in settings))


_OF: dict[str, Any] = {
    "name": _name,
    "secret": _secret,
    "column": _column,
    "affinity": _affinity,
    "held": lambda rest: str(sqlite_type(type_of(rest))),
    "where": _where,
    "splits": _splits,
    "uri": _uri,
    "told": lambda rest: database.told(ValueError(rest)),
}

RECORDED = Recorded(Path(__file__).parent / "sql.txt", said)

if __name__ == "__main__":
    RECORDED.main()
