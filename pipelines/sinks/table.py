"""What a job writes to a table, of whatever system: files in the table's folder, which one commit adds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.sinks.files import unchanged_check
from beamsplit.pipelines.sinks.sink import Sink, Written
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.columns import AsTableColumns, check_same_columns, table_schema
from beamsplit.transforms.write.provenance import JOB, VERSION
from beamsplit.transforms.tables.left_files import pattern_of, remove_left

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job


@dataclass(frozen=True)
class TableSink(Sink):
    """Predictions as rows of a table."""

    commit: Any
    """A dataclass that adds files when it is called with their names; it has `name`, `mode` (`"error"`, `"append"`,
    `"overwrite"`), `schema` (of a table that is there), `job_id`, `is_known(job_id)`; takes `columns` and `told`."""

    model: str
    """Path of the model, whose version is told."""

    notes: tuple[str, ...] = ()

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
    def how(self) -> str:
        """What is done to the table, in words."""
        return {"error": "new", "append": "rows are added", "overwrite": "rows are replaced"}[self.commit.mode]

    @property
    def facts(self) -> Mapping[str, Any]:
        """The table, and what is done to it."""
        return {"output": f"{self.name}, {self.how}"}

    def check_columns(self, columns: pa.Schema) -> None:
        """Raise for columns that the commit cannot use.

        Raises:
            UsageError: with what to type.
        """
        return

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the columns that are written, and what makes them of the job's."""
        there, what = self.commit.schema, f"--output {self.name}"
        columns = table_schema(schema, what)
        if there is not None:
            check_same_columns(schema, there, what)
            columns = there
        self.check_columns(columns)
        told = ((VERSION, model_version(self.model)), (JOB, self.job))
        return replace(self, commit=replace(self.commit, columns=columns, told=told)), (AsTableColumns(columns),)

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire the files, and the commit behind them."""
        from beamsplit.transforms.write import WriteBlocks

        commit, one = self.commit, job.workers == 1
        schema = commit.columns.with_metadata(dict(commit.told))
        pattern = pattern_of(self.folder, commit.job_id)
        if job.job_dir is not None:
            remove_left(self.folder, commit.is_known)
        write = WriteBlocks(pattern, schema, None, one, after, unchanged_check(job), False, commit)
        blocks | "Write" >> write
        return [(pattern, write.job_id)]
