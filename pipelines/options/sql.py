"""The options of databases. Imports no Beam."""

from __future__ import annotations

import argparse

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_sql
from beamsplit.pipelines.options.values import ScoreOptions


def add_sql(p: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    group = p.add_argument_group("databases (postgresql://HOST/DB#TABLE, sqlite:PATH#TABLE, sql:FILE.sql)")
    group.add_argument(
        "--key",
        metavar="COL",
        help="read a table, view or query in ranges of this column by all workers (default: tables in ranges of pages "
        "or rowids, others by one worker)",
    )
    group.add_argument(
        "--sql_config",
        metavar="FILE|env:NAME",
        help="settings of the database, NAME=VALUE, read by each worker: uri and driver of sql: names, password, "
        "sslmode, ...",
    )


def check_sql(options: ScoreOptions) -> None:
    """Raise for options of databases without one.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    source = options.source
    reads, writes = any(map(is_sql, source.input)), is_sql(options.sink.output)
    if source.key is not None and not reads:
        raise UsageError(
            f"--key is for tables and queries of databases, and --input {' '.join(source.input)} is none; leave it out"
        )
    if source.sql_config is not None and not reads and not writes:
        raise UsageError(
            "--sql_config is for databases, and neither --input nor --output names one; type e.g. "
            "--input sql:FILE.sql, or leave it out"
        )
    if reads and options.sink.resume:
        raise UsageError(
            f"--resume goes on with files that are as they were, and of {source.input[0]} nothing tells whether it is; "
            "leave --resume out, or write it to files first"
        )
    if reads and options.workers.partition in ("contiguous", "proportional"):
        raise UsageError(
            f"--partition {options.workers.partition} cuts rows by their places, and those of "
            f"{source.input[0]} have none that two readings agree on; leave it out, or type --partition random"
        )
