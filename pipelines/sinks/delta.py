"""Delta tables as what a job writes: `--output delta:PATH`."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.table import (
    TableSink,
    check_folder_of_table,
    check_makes_new,
    check_mode_of_table,
    check_store_of_table,
    notes_of_table,
    replaced_rows,
)
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.delta import DeltaName, import_deltalake, open_delta, opened, parse_delta
from beamsplit.transforms.tables.delta_write import DeltaCommit, check_delta_output, has_transaction
from beamsplit.transforms.tables.left_files import is_named_so
from beamsplit.transforms.write.storage import local_path


def find_table(options: ScoreOptions, local: bool) -> DeltaSink:
    """The table of `--output`.

    Raises:
        UsageError: it cannot be written to, or is there.
    """
    asked = options.sink
    name = parse_delta(asked.output, "--output")
    check_makes_new(str(name), "version", name.version)
    import_deltalake("--output")
    local = local_path(name.path) is not None
    if not local:
        check_store_of_table(name.path, str(name))
    table = _opened(name)
    if local:
        _check_folder(name, table is not None, asked.resume)
    mode = check_mode_of_table(options, str(name), table is not None, has_transaction(table, asked.commit_id))
    check_delta_output(name, table, "--output")
    schema = None if table is None else pa.schema(table.schema().to_arrow())
    partition_by = () if table is None else tuple(table.metadata().partition_columns)
    job_id = uuid.uuid4().hex[:12]
    commit = DeltaCommit(
        name,
        mode,
        None if mode == "error" or (mode == "overwrite" and not partition_by) else schema,
        asked.commit_id or job_id,
        job_id,
        merge_on=asked.merge_on,
        partition_by=partition_by,
        where=replaced_rows(asked.overwrite_where, schema),
    )
    notes = notes_of_table(options, str(name), table is not None, commit)
    return DeltaSink(commit, localize(options.binding.model), notes)


def _opened(name: DeltaName) -> Any:
    """The table, or None where there is none.

    Raises:
        UsageError: it cannot be opened.
    """
    try:
        return opened(name, "--output")
    except UsageError:
        raise
    except Exception:
        return open_delta(name, "--output")


def folder_of(output: str) -> str:
    """Where the files of the table lie that `--output` names.

    Raises:
        UsageError: it names none.
    """
    return parse_delta(output, "--output").path


def _check_folder(name: DeltaName, there: bool, resume: bool) -> None:
    """Raise for a folder that cannot become a table's.

    Raises:
        UsageError: it is a file, has other files in it, or may not be written.
    """
    folder = os.path.abspath(name.path)
    names = [one for one in os.listdir(folder) if not one.startswith(".")] if os.path.isdir(folder) else []
    if resume:  # What goes on may have been killed when its files had their names.
        names = [one for one in names if not is_named_so(one)]
    if not there and names:
        raise UsageError(f"--output {name}: the folder is no table, and has files in it; give a folder that is new")
    check_folder_of_table(str(name), folder)


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

    @property
    def more_steps(self) -> tuple[Step, ...]:
        """Rows whose place the log cannot tell fail."""
        return () if self.commit.partitions is None else (self.commit.partitions,)

    def files(self) -> list[str]:
        """The version of the table that has the rows, or a later one."""
        return [f"{self.name}@{open_delta(self.commit.name, '--output').version()}"]
