"""Files of a table as what a job reads: the table says which, and what their columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions, SourceOptions
from beamsplit.pipelines.sources.files import Files
from beamsplit.transforms.read import InputFile, first_rows
from beamsplit.transforms.where import Node, bind_where, columns_of, parse_where

OF_FILES = ("input_format", "encoding", "csv_header", "delimiter")
"""Options that say how files are read, which a table does itself."""


@dataclass(frozen=True)
class TableFiles(Files):
    """Files of a table."""

    table: str = ""
    """As it is named, with its version, in words."""

    left_out: int = 0
    """Rows of files that are not read, since the table tells that `--where` keeps none of theirs."""

    @property
    def rows_left_out(self) -> int:
        """Rows that no worker looks at."""
        return self.left_out

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table, and how many files are read of it."""
        full = [file for file in self.inputs if file.size]
        rows = self.total_rows
        known = f", {rows:,} rows" if rows is not None else ""
        kept = {} if self.condition is None else {"where": self.condition}
        return {"input": f"{self.table}, {len(full):,} file{'s' * (len(full) != 1)}{known}", **kept}


def only_table(source: SourceOptions) -> str:
    """The one name of `--input`.

    Raises:
        UsageError: there are several, or an option is for files.
    """
    if len(source.input) != 1:
        raise UsageError(f"--input names {len(source.input)} tables, and one is read; type one")
    for name in OF_FILES:
        if getattr(source, name) is not None:
            raise UsageError(f"--{name} is for files, and --input {source.input[0]} is a table; leave --{name} out")
    return source.input[0]


def bound_for_pruning(where: Node | None, schema: pa.Schema, binding: BindingOptions) -> Node | None:
    """The condition, bound to a table's columns, where its types are those that are compared; None otherwise."""
    if where is None or set(columns_of(where)) & set(binding.types):
        return None
    try:
        return bind_where(where, schema)
    except UsageError:  # A field of a struct; what is wrong is told where the data is bound.
        return None


def rows_of_table(
    options: ScoreOptions, files: Sequence[InputFile], table: str, left_out: int, job_dir: str | None
) -> TableFiles:
    """The source.

    Args:
        options: of the job.
        files: of the table.
        table: in words.
        left_out: rows of files that are not among these.
        job_dir: folder that local workers share.

    Raises:
        UsageError: the first rows are asked for, which cannot be counted.
    """
    asked, notes = options.source, list[str]()
    if asked.limit is not None:
        if any(file.table is not None and not file.table.whole for file in files):
            raise UsageError(
                f"--limit counts rows of files, and {asked.input[0]} has deleted rows in its files; leave --limit out"
            )
        if asked.where is not None:
            notes.append(f"of the first {asked.limit:,} rows of files that --where does not rule out, those are scored")
        files = first_rows(files, "parquet", asked.limit)
    where = None if asked.where is None else parse_where(asked.where)
    return TableFiles(
        tuple(files), "parquet", tuple(notes), job_dir, where, asked.where, table=table, left_out=left_out
    )
