"""Tables and queries of databases as what a job reads: `postgresql://HOST/DB#schema.table`, `sql:FILE.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.files import Files
from beamsplit.pipelines.sources.table import only_table
from beamsplit.transforms.files import read_file
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.sql import other, postgres, sqlite
from beamsplit.transforms.sql.database import Database, find_database
from beamsplit.transforms.sql.names import SqlName, parse_sql
from beamsplit.transforms.sql.query import Asked, SqlQuery
from beamsplit.transforms.where import parse_where

DESCRIBE = {"postgresql": postgres.describe, "sqlite": sqlite.describe}
"""Kind of database -> what looks at a table; others are read by one worker."""


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> Rows:
    """The table or query of `--input`.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    asked = options.source
    name = parse_sql(only_table(asked), "--input")
    database = find_database(name, asked.sql_config, "--input")
    if database.kind == "sqlite" and not local:
        raise UsageError(
            f"--input {name} is a file of this machine, and --runner {options.runner.name} has its workers elsewhere; "
            "copy it to PostgreSQL, or to a Parquet file"
        )
    text = None if name.file is None else query_text(name, "--input")
    describe = DESCRIBE.get(database.kind, other.describe)
    query, size, notes = describe(Asked(database, str(name), name.table, text, asked.key, asked.limit))
    if asked.limit is not None:
        which = (
            f"the first in order of {asked.key}" if asked.key else "which ones is the database's choice without --key"
        )
        notes = (*notes, f"{asked.limit:,} rows of {name} are read by one worker, {which}")
    where = None if asked.where is None else parse_where(asked.where)
    return Rows((InputFile(str(name), size, query=query),), "sql", notes, job_dir, where, asked.where)


def query_text(name: SqlName, option: str) -> str:
    """The query of a file, without the semicolon at its end.

    Raises:
        UsageError: it has none.
    """
    assert name.file is not None
    text = read_file(name.file).decode("utf-8", "replace").strip().rstrip(";").rstrip()
    if not text:
        raise UsageError(f"{option} {name}: the file has no query; write a SELECT into it")
    return text


@dataclass(frozen=True)
class Rows(Files):
    """Rows of a database, in ranges that workers ask for."""

    @property
    def query(self) -> SqlQuery:
        """What is asked."""
        query = self.inputs[0].query
        assert query is not None
        return query

    @property
    def files(self) -> Sequence[str]:
        """None."""
        return []

    @property
    def total_rows(self) -> int | None:
        """About how many, as far as the database knows without counting."""
        return self.query.rows

    @property
    def total_exact(self) -> bool:
        """Never: they are not counted."""
        return False

    @property
    def empty(self) -> bool:
        """Whether there is no row; the database is asked."""
        from beamsplit.transforms.read.splits import count_rows, make_splits

        return not any(count_rows(replace(split, row_stop=1)) for split in make_splits(self.inputs, "sql", 1))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table or query, how it is read, and of which moment."""
        query, database = self.query, self.query.database
        about = f", about {query.rows:,} rows" if query.rows is not None else ""
        by = {"tid": "pages"}.get(query.by_type, query.by.strip('"'))
        how = f"in up to {query.ranges:,} ranges of {by}" if len(query.bounds) else "as one"
        of = f" of {shown(database)}" if not self.inputs[0].path.startswith(database.uri or "\0") else ""
        kept = {} if self.condition is None else {"where": f"{self.condition} (asked of the database, where it can be)"}
        return {"input": f"{query.name}{of}{about}, read {how}", **kept}


def shown(database: Database) -> str:
    """A database as summaries show it."""
    return database.address().partition("?")[0] or database.kind
