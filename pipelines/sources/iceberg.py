"""Iceberg tables as what a job reads: `iceberg://CATALOG/db.table`, and `@` with a snapshot."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.table import TableFiles, bound_for_pruning, only_table, rows_of_table
from beamsplit.transforms.tables.iceberg import (
    arrow_schema,
    iceberg_schema,
    iceberg_snapshot,
    snapshot_of,
)
from beamsplit.transforms.tables.iceberg_catalog import open_iceberg, parse_iceberg
from beamsplit.transforms.where import parse_where


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> TableFiles:
    """The table of `--input`.

    Raises:
        UsageError: there is none, or it has what cannot be read right.
    """
    typed = only_table(options.source)
    name = parse_iceberg(typed, "--input")
    table = open_iceberg(name, "--input")
    number = snapshot_of(name, table, "--input")
    schema = arrow_schema(table, iceberg_schema(table, number, name.snapshot is not None))
    where = None if options.source.where is None else parse_where(options.source.where)
    found = iceberg_snapshot(name, table, schema, bound_for_pruning(where, schema, options.binding), "--input")
    gone = next((one for one in found.files if one.size and one.stamp is None and "://" not in one.path), None)
    if gone is not None:
        raise UsageError(
            f"--input {name}: its file {gone.path} is gone; were the table's snapshots expired? Read a later one"
        )
    what = f"{typed}, snapshot {found.snapshot}" if found.snapshot is not None else f"{typed}, without a snapshot"
    return rows_of_table(options, found.files, what, found.left_out, job_dir)
