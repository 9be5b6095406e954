"""Tables of databases as what a job writes: `--output postgresql://HOST/DB#schema.table`, `sqlite:PATH#table`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.files import unchanged_check
from beamsplit.pipelines.sinks.sink import Sink, Written
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.sql.columns import AsPostgresColumns, AsSqliteColumns, sqlite_schema
from beamsplit.transforms.sql.database import find_database
from beamsplit.transforms.sql.names import parse_sql
from beamsplit.transforms.sql.postgres_write import PREFIX, PostgresStage, type_of
from beamsplit.transforms.sql.sqlite_write import SqliteStage
from beamsplit.transforms.sql.target import Target, postgres_target, sqlite_target
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.columns import check_same_columns, table_schema

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job

MOST_NAME_BYTES = 63
"""Of names in PostgreSQL, which cuts longer ones."""


def find_table(options: ScoreOptions, local: bool) -> SqlSink:
    """The table of `--output`.

    Raises:
        UsageError: it cannot be written to, or is there.
    """
    asked, dry = options.sink, options.watching.dry_run_plan or options.watching.dry_run is not None
    name = parse_sql(asked.output, "--output")
    if name.file is not None:
        raise UsageError(f"--output {name} is a query, and predictions go into a table; type sql:schema.table")
    database = find_database(name, options.source.sql_config, "--output")
    if database.kind not in ("postgresql", "sqlite"):
        raise UsageError(
            f"--output {name}: tables of PostgreSQL and SQLite are written, and the driver is {database.kind}; name "
            "one of those, or a file"
        )
    if database.kind == "sqlite" and not local:
        raise UsageError(
            f"--output {name} is a file of this machine, and --runner {options.runner.name} has its workers elsewhere; "
            "name a table of PostgreSQL"
        )
    mode = "overwrite" if asked.overwrite else "append" if asked.append else "merge" if asked.merge_on else "error"
    look = postgres_target if database.kind == "postgresql" else sqlite_target
    target = look(database, str(name), name.table, mode)
    if target.there and mode == "error" and not dry:
        raise UsageError(
            f"--output {name} is there already; add --append to add the rows to it, --overwrite to replace its rows, "
            "or --merge_on COLUMN to replace those of the same key"
        )
    job = asked.commit_id or uuid.uuid4().hex
    stage: PostgresStage | SqliteStage
    if database.kind == "postgresql":
        staging = PREFIX + uuid.uuid4().hex[:16]
        stage = PostgresStage(
            database, str(name), target.table, mode, job, asked.merge_on, target.types, staging=staging
        )
    else:
        stage = SqliteStage(database, str(name), target.table[1], mode, job, asked.merge_on)
    notes: tuple[str, ...] = ()
    if asked.commit_id is not None and target.there and stage.is_done():
        notes = (f"{name} has the rows of --commit_id {asked.commit_id} already: what is scored now is not written",)
    elif target.there and mode == "error":
        notes = (f"{name} is there already: to run this, add --append, --overwrite or --merge_on COLUMN",)
    return SqlSink(stage, target, localize(options.binding.model), notes, dry)


@dataclass(frozen=True)
class SqlSink(Sink):
    """Predictions as rows of a database's table, which one transaction adds."""

    stage: Any
    """A `PostgresStage` or `SqliteStage`."""

    target: Target
    model: str
    """Path of the model, whose version is told."""

    notes: tuple[str, ...] = ()
    dry: bool = False
    """Whether nothing is run."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is typed."""
        return str(self.stage.name)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table, and what is done to it."""
        how = {"error": "new", "append": "rows are added", "overwrite": "rows are replaced"}
        told = how.get(self.stage.mode, f"merged on {', '.join(self.stage.merge_on)}")
        return {"output": f"{self.name}, {told}"}

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the columns that are written, and what makes them of the job's."""
        what, stage = f"--output {self.name}", self.stage
        step: Step
        if isinstance(stage, PostgresStage):
            columns = table_schema(schema, what)
            self.target.check_names(columns.names, what)
            if self.target.there:
                kept = [field for field in self.target.columns if field.name in columns.names]
                check_same_columns(schema, pa.schema(kept), what)
                columns = pa.schema(kept)
            _check_types(columns, what)
            step = AsPostgresColumns(columns)
            stage = replace(stage, columns=columns)
        else:
            columns, declared = sqlite_schema(schema, what)
            self.target.check_names(columns.names, what)
            step = AsSqliteColumns(columns)
            stage = replace(stage, columns=columns, declared=declared)
        missing = [key for key in stage.merge_on if key not in columns.names]
        if missing:
            raise UsageError(
                f"--merge_on names {missing[0]!r}, and the predictions have the columns {', '.join(columns.names)}; "
                "name one of them, or add it to --keep"
            )
        told = (("beamsplit.model_version", model_version(self.model)),)
        return replace(self, stage=replace(stage, told=told)), (step,)

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire the rows that are put aside, and the transaction behind them."""
        from beamsplit.transforms.sql.staged import WriteStaged

        if not self.dry:
            self.stage.begin()
        in_file = isinstance(self.stage, SqliteStage)
        beside = self.stage.database.path if in_file else os.path.join(job.job_dir or "", "sql")
        write = WriteStaged(self.stage, beside, job.workers == 1, after, unchanged_check(job))
        blocks | "Write" >> write
        return [(beside, write.job_id)] if in_file or job.job_dir else []


def _check_types(columns: pa.Schema, what: str) -> None:
    for field in columns:
        try:
            type_of(field.type)
        except TypeError:
            raise UsageError(
                f"{what}: the column {field.name!r} is {field.type}, and PostgreSQL has lists of single values only; "
                "make it flat with --finish, or write a file"
            ) from None
        if len(field.name.encode()) > MOST_NAME_BYTES:
            raise UsageError(
                f"{what}: the name of the column {field.name!r} is longer than the {MOST_NAME_BYTES} bytes that "
                "PostgreSQL keeps; give it another"
            )
