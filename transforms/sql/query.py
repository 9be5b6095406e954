"""What is asked of a database, as a plain value that travels to the workers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from beamsplit.transforms.split import Split
from beamsplit.transforms.sql.database import Database

PIECES = 256
"""Into so many ranges of about as many rows a table is divided at most."""


@dataclass(frozen=True)
class SqlColumn:
    """A column as it is asked for."""

    name: str
    sql: str
    """What gives its values, in types that the driver has."""

    type: pa.DataType
    """As it is read."""

    bad: str = ""
    """A condition for values that cannot be read; empty where there are none."""

    why: str = ""
    """What such a value is, in words."""

    plain: bool = False
    """Whether values are compared in the database as they are in Arrow, so that `--where` can be asked there."""

    driver_type: pa.DataType | None = None
    """As the driver gives it, where that is another."""


class Asked(NamedTuple):
    """What `--input` asks for, before anybody has looked at it."""

    database: Database
    name: str
    """As it is typed."""

    table: tuple[str, ...]
    """Parts of its name; empty of a query."""

    text: str | None = None
    """Of the query."""

    key: str | None = None
    """The column that ranges are of."""

    limit: int | None = None
    """Rows that are read at most."""


@dataclass(frozen=True)
class SqlQuery:
    """A table or query, its columns, the ranges that it is read in, and of which moment."""

    database: Database
    name: str
    """As it is typed."""

    relation: str
    """What stands behind FROM."""

    columns: tuple[SqlColumn, ...]
    by: str = ""
    """What gives the value that ranges are of; empty of a query that is read as one."""

    by_type: str = ""
    """Its type in the database; `"tid"`: bounds are pages."""

    bounds: tuple[int | float | str, ...] = field(default=(), repr=False)
    """Where one range ends and the next begins, ascending."""

    nulls: bool = False
    """Whether `by` may be null: such rows are a range of their own."""

    number: str = ""
    """What gives a whole number by which a row is known; else it is its place in its range."""

    rows: int | None = None
    """About how many there are."""

    snapshot: str | None = None
    """PostgreSQL's, which the process that planned the job holds."""

    stamp: tuple[int, ...] | None = None
    """Of an SQLite file: what it looks like as long as nobody writes."""

    @property
    def schema(self) -> pa.Schema:
        """The columns, as they are read."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    def column(self, name: str) -> SqlColumn | None:
        """The column of a name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def ranges(self) -> int:
        """How many there are, without that of nulls."""
        return len(self.bounds) + 1


def make_splits(query: SqlQuery, path: str, size: int, number: int, target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes`: neighbouring ranges together. No database is asked.

    Args:
        query: of which they are.
        path: by which its rows are known.
        size: about how many bytes it has.
        number: of it among the inputs.
        target_bytes: of a split.
    """
    count = max(1, min(query.ranges, -(-size // max(1, target_bytes))))
    ends = [query.ranges * k // count for k in range(count + 1)]
    pieces = [(start, stop) for start, stop in itertools.pairwise(ends) if start < stop]
    if query.nulls:
        pieces.append((query.ranges, query.ranges + 1))
    many = len(pieces) > 1 and not query.number
    return [
        Split(
            "sql",
            (f"{path} range {at:04d}" if many else path,),
            (number, at),
            start,
            stop,
            0,
            None,
            size * (stop - start) // query.ranges if start < query.ranges else 0,
            query=query,
        )
        for at, (start, stop) in enumerate(pieces)
    ]


def bounds_of(query: SqlQuery, split: Split) -> tuple[int | float | str | None, int | float | str | None, bool]:
    """(least, one past the last, whether it is the range of nulls) of a split; None where it is open."""
    if split.start >= query.ranges:
        return None, None, True
    low = query.bounds[split.start - 1] if split.start else None
    high = query.bounds[split.stop - 1] if split.stop < query.ranges else None
    return low, high, False


def one_of_each(values: Sequence[int | float | str]) -> tuple[int | float | str, ...]:
    """Bounds in their order, each once: one value may be that of many rows."""
    return tuple(dict.fromkeys(values))
