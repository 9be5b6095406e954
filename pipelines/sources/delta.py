"""Delta tables as what a job reads: `delta:PATH`, `delta:PATH@3`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.table import TableFiles, bound_for_pruning, only_table, rows_of_table
from beamsplit.transforms.tables.delta import delta_snapshot, open_delta, parse_delta
from beamsplit.transforms.where import parse_where

if TYPE_CHECKING:
    from beamsplit.transforms.where import Node


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> TableFiles:
    """The table of `--input`.

    Raises:
        UsageError: there is none, or it has what cannot be read right.
    """
    typed = only_table(options.source)
    name = parse_delta(typed, "--input")
    table = open_delta(name, "--input")
    where: Node | None = None if options.source.where is None else parse_where(options.source.where)
    import pyarrow as pa

    pruned = bound_for_pruning(where, pa.schema(table.schema().to_arrow()), options.binding)
    snapshot = delta_snapshot(name, table, pruned, "--input")
    if any(file.stamp is None and "://" not in file.path for file in snapshot.files if file.size):
        gone = next(file.path for file in snapshot.files if file.stamp is None)
        raise UsageError(f"--input {name}: its file {gone} is gone; was the table vacuumed? Read a later version")
    what = f"{typed}, version {snapshot.version}"
    return rows_of_table(options, snapshot.files, what, snapshot.left_out, job_dir)
