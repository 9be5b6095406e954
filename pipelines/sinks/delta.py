"""Delta tables as what a job writes: `--output delta:PATH`."""

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
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.columns import AsTableColumns, check_same_columns, table_schema
from beamsplit.transforms.tables.delta import DeltaName, import_deltalake, open_delta, parse_delta
from beamsplit.transforms.tables.delta_write import DeltaCommit, check_delta_output
from beamsplit.transforms.write.storage import local_path

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job

VERSION, JOB = "beamsplit.model_version", "beamsplit.job"
"""What commits and files tell of themselves."""


def find_table(options: ScoreOptions, local: bool) -> DeltaSink:
    """The table of `--output`.

    Raises:
        UsageError: it cannot be written to, or is there.
    """
    asked, dry = options.sink, options.watching.dry_run_plan
    name = parse_delta(asked.output, "--output")
    if name.version is not None:
        raise UsageError(
            f"--output {name} names a version, and what is written makes a new one; leave @{name.version} out"
        )
    if local_path(name.path) is None:
        raise UsageError(
            f"--output {name}: tables are written on this machine's file system; give the path of a folder there"
        )
    import_deltalake("--output")
    table = open_delta(name, "--output") if os.path.isdir(os.path.join(name.path, "_delta_log")) else None
    _check_folder(name, table is not None)
    mode = "overwrite" if asked.overwrite else "append" if asked.append else "merge" if asked.merge_on else "error"
    if table is not None and mode == "error" and not dry:
        raise UsageError(
            f"--output {name} is there already; add --append to add the rows to it, --overwrite to replace its rows, "
            "or --merge_on COLUMN to replace those of the same key"
        )
    check_delta_output(name, table, "--output")
    commit = DeltaCommit(
        name,
        mode,
        pa.schema(table.schema().to_arrow()) if table is not None and mode in ("append", "merge") else None,
        f"beamsplit:{asked.commit_id or uuid.uuid4().hex}",
        merge_on=asked.merge_on,
    )
    notes: tuple[str, ...] = ()
    if table is not None and asked.commit_id is not None and commit.is_done():
        notes = (f"{name} has the rows of --commit_id {asked.commit_id} already: what is scored now is not written",)
    elif table is not None and mode == "error":
        notes = (f"{name} is there already: to run this, add --append, --overwrite or --merge_on COLUMN",)
    return DeltaSink(commit, localize(options.binding.model), notes)


def _check_folder(name: DeltaName, there: bool) -> None:
    """Raise for a folder that cannot become a table's.

    Raises:
        UsageError: it is a file, has other files in it, or may not be written.
    """
    folder = os.path.abspath(name.path)
    if not there and os.path.isdir(folder) and any(not one.startswith(".") for one in os.listdir(folder)):
        raise UsageError(f"--output {name}: the folder is no table, and has files in it; give a folder that is new")
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"--output {name}: {folder} is a file, not a folder; give the path of a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output {name}: the folder {folder} may not be written; give one that may be")


@dataclass(frozen=True)
class DeltaSink(Sink):
    """Predictions as rows of a table: files in its folder, which one commit adds."""

    commit: DeltaCommit
    model: str
    """Path of the model, whose version is told."""

    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is typed."""
        return str(self.commit.name)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table, and what is done to it."""
        told = {"error": "new", "append": "rows are added", "overwrite": "rows are replaced"}
        how = told.get(self.commit.mode) or f"merged on {', '.join(self.commit.merge_on)}"
        return {"output": f"{self.name}, {how}"}

    def files(self) -> list[str]:
        """The version of the table that has the rows, or a later one."""
        return [f"{self.name}@{open_delta(self.commit.name, '--output').version()}"]

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the columns that are written, and what makes them of the job's."""
        commit, what = self.commit, f"--output {self.name}"
        wanted = table_schema(schema, what)
        if commit.schema is not None:
            check_same_columns(schema, commit.schema, what)
            wanted = commit.schema
        missing = [name for name in commit.merge_on if name not in wanted.names]
        if missing:
            raise UsageError(
                f"--merge_on names {missing[0]!r}, and the predictions have the columns {', '.join(wanted.names)}; "
                "name one of them, or add it to --keep"
            )
        told = ((VERSION, model_version(self.model)), (JOB, commit.transaction.removeprefix("beamsplit:")))
        return replace(self, commit=replace(commit, columns=wanted, told=told)), (AsTableColumns(wanted),)

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire the files, and the commit behind them."""
        from beamsplit.transforms.write import WriteBlocks

        commit, one = self.commit, job.workers == 1
        assert commit.columns is not None
        schema = commit.columns.with_metadata(dict(commit.told))
        pattern = f"{commit.name.path.rstrip('/')}/part-{uuid.uuid4().hex[:12]}-*.parquet"
        write = WriteBlocks(pattern, schema, None, one, after, unchanged_check(job), False, commit)
        blocks | "Write" >> write
        return [(pattern, write.job_id)]
