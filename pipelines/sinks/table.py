"""What a job writes to a table, of whatever system: files in the table's folder, which one commit adds."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.files import unchanged_check
from beamsplit.pipelines.sinks.sink import Sink, Written
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.columns import AsTableColumns, check_same_columns, table_schema
from beamsplit.transforms.tables.left_files import pattern_of, remove_left
from beamsplit.transforms.tables.rewrite import OnlyWhere, Where
from beamsplit.transforms.where import bind_where, parse_where
from beamsplit.transforms.write.provenance import JOB, VERSION
from beamsplit.transforms.write.storage import check_storable

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job


def check_mode_of_table(options: ScoreOptions, name: str, there: bool, done: bool = False) -> str:
    """What is done to a table: `"error"`, `"append"`, `"overwrite"`, `"merge"` or `"where"`.

    Args:
        options: of the job.
        name: of the table.
        there: whether it is.
        done: whether it has the rows of `--commit_id` already: then none are written, whatever is done to it.

    Raises:
        UsageError: it is there and nothing says what becomes of its rows, or is not although some of them are replaced.
    """
    asked = options.sink
    if asked.overwrite_where and not there:
        raise UsageError(
            f"--overwrite_where replaces rows of a table, and --output {name} is not there; type --append to make it"
        )
    ways = {"overwrite": asked.overwrite, "append": asked.append, "merge": asked.merge_on}
    mode = next((mode for mode, given in {**ways, "where": asked.overwrite_where}.items() if given), "error")
    if there and not done and mode == "error" and not options.watching.dry_run_plan:
        raise UsageError(
            f"--output {name} is there already; add --append to add the rows to it, --overwrite to replace its rows, "
            "--merge_on COLUMN to replace those of the same key, or --overwrite_where CONDITION to replace some"
        )
    return mode


def check_folder_of_table(name: str, folder: str) -> None:
    """Raise where a table's folder cannot be written or made.

    Args:
        name: of the table.
        folder: absolute, on this machine.

    Raises:
        UsageError: a file is in its place, or it may not be written.
    """
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"--output {name}: {folder} is a file, not a folder; give the path of a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output {name}: the folder {folder} may not be written; give one that may be")


def check_makes_new(output: str, what: str, named: object) -> None:
    """Raise for the name of a table that says which of its states: what is written makes a new one.

    Args:
        output: as it was typed.
        what: the table's word for it, `version` or `snapshot`.
        named: the one it names; None for none.

    Raises:
        UsageError: it names one.
    """
    if named is not None:
        raise UsageError(f"--output {output} names a {what}, and what is written makes a new one; leave @{named} out")


def check_store_of_table(folder: str, name: str) -> None:
    """Raise unless files can be written and deleted in a table's folder at a store.

    Raises:
        UsageError: why not.
    """
    if not folder.startswith("s3://"):
        raise UsageError(
            f"--output {name} lies in {folder}, and tables are written on this machine's file system and at s3:// only"
        )
    check_storable(f"{folder.rstrip('/')}/part.parquet", f"--output {name}:")


def notes_of_table(options: ScoreOptions, name: str, there: bool, commit: Any) -> tuple[str, ...]:
    """What the user is told of a table before a job."""
    if there and options.sink.commit_id is not None and commit.is_done():
        known = options.sink.commit_id
        return (f"{name} has the rows of --commit_id {known} already: what is scored now is not written",)
    if there and commit.mode == "error":
        ways = "--append, --overwrite, --merge_on COLUMN or --overwrite_where CONDITION"
        return (f"{name} is there already: to run this, add {ways}",)
    return ()


def replaced_rows(condition: str | None, schema: pa.Schema | None) -> Where | None:
    """The rows of `--overwrite_where`.

    Raises:
        UsageError: it is no condition on these columns.
    """
    if condition is None or schema is None:
        return None
    option = "--overwrite_where"
    return Where(bind_where(parse_where(condition, option), schema, option), condition)


@dataclass(frozen=True)
class TableSink(Sink):
    """Predictions as rows of a table."""

    commit: Any
    """A dataclass that adds files when it is called with their names; it has `name`, `mode` (`"error"`, `"append"`,
    `"overwrite"`, `"merge"` on `merge_on`, or `"where"` rows are `where`), `schema` (of a table that is there),
    `job_id`, `is_known(job_id)`; takes `columns` and `told`."""

    model: str
    """Path of the model, whose version is told."""

    notes: tuple[str, ...] = ()

    extension: ClassVar[str] = ".parquet"
    """Of the files."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is typed."""
        return str(self.commit.name)

    @property
    @abstractmethod
    def job(self) -> str:
        """What the commit is known by."""

    @property
    @abstractmethod
    def folder(self) -> str:
        """Where the files lie, on this machine."""

    @property
    def pattern(self) -> str:
        """What the job's files are called."""
        return pattern_of(self.folder, self.commit.job_id, self.extension)

    @property
    def file_schema(self) -> pa.Schema:
        """Their columns, with what they tell of themselves."""
        schema: pa.Schema = self.commit.columns.with_metadata(dict(self.commit.told))
        return schema

    @property
    def how(self) -> str:
        """What is done to the table, in words."""
        commit = self.commit
        if commit.mode == "merge":
            return f"merged on {', '.join(commit.merge_on)}"
        if commit.mode == "where":
            return f"rows with {commit.where.typed} are replaced"
        return {"error": "new", "append": "rows are added", "overwrite": "rows are replaced"}[str(commit.mode)]

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table, and what is done to it."""
        return {"output": f"{self.name}, {self.how}"}

    def check_columns(self, columns: pa.Schema) -> None:
        """Raise unless the columns of `--merge_on` are among them.

        Raises:
            UsageError: one is not.
        """
        missing = [name for name in self.commit.merge_on if name not in columns.names]
        if missing:
            raise UsageError(
                f"--merge_on names {missing[0]!r}, and the predictions have the columns {', '.join(columns.names)}; "
                "name one of them, or add it to --keep"
            )

    @property
    def more_steps(self) -> tuple[Step, ...]:
        """Steps that fail rows which the table does not take, of blocks that have its columns."""
        return ()

    def columns_of(self, schema: pa.Schema) -> pa.Schema:
        """The columns of a table that is made of these."""
        return table_schema(schema, f"--output {self.name}")

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the columns that are written, and what makes them of the job's."""
        there, what = self.commit.schema, f"--output {self.name}"
        columns = self.columns_of(schema)
        if there is not None:
            check_same_columns(schema, there, what)
            columns = there
        self.check_columns(columns)
        told = ((VERSION, model_version(self.model)), (JOB, self.job))
        where = () if self.commit.where is None else (OnlyWhere(self.commit.where),)
        steps = (AsTableColumns(columns), *where, *self.more_steps)
        return replace(self, commit=replace(self.commit, columns=columns, told=told)), steps

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire the files, and the commit behind them."""
        from beamsplit.transforms.write import WriteBlocks

        commit, one = self.commit, job.workers == 1
        pattern = self.pattern
        if job.job_dir is not None:
            remove_left(self.folder, commit.is_known)
        write = WriteBlocks(pattern, self.file_schema, None, one, after, unchanged_check(job), False, commit)
        blocks | "Write" >> write
        return [(pattern, write.job_id)]
