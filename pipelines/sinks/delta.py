"""Delta tables as what a job writes: `--output delta:PATH`."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.table import TableSink
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.tables.delta import DeltaName, import_deltalake, open_delta, parse_delta
from beamsplit.transforms.tables.delta_write import DeltaCommit, check_delta_output
from beamsplit.transforms.write.storage import local_path


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
    job_id = uuid.uuid4().hex[:12]
    commit = DeltaCommit(
        name,
        mode,
        pa.schema(table.schema().to_arrow()) if table is not None and mode in ("append", "merge") else None,
        asked.commit_id or job_id,
        job_id,
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
class DeltaSink(TableSink):
    """Predictions as rows of a Delta table, which one entry of its log adds."""

    commit: DeltaCommit

    @property
    def job(self) -> str:
        """Its transaction."""
        return self.commit.commit_id

    @property
    def folder(self) -> str:
        """The table's own."""
        return self.commit.name.path

    @property
    def how(self) -> str:
        """Rows may be merged too."""
        return f"merged on {', '.join(self.commit.merge_on)}" if self.commit.mode == "merge" else super().how

    def files(self) -> list[str]:
        """The version of the table that has the rows, or a later one."""
        return [f"{self.name}@{open_delta(self.commit.name, '--output').version()}"]

    def check_columns(self, columns: pa.Schema) -> None:
        """Raise unless the columns of `--merge_on` are among them."""
        missing = [name for name in self.commit.merge_on if name not in columns.names]
        if missing:
            raise UsageError(
                f"--merge_on names {missing[0]!r}, and the predictions have the columns {', '.join(columns.names)}; "
                "name one of them, or add it to --keep"
            )
