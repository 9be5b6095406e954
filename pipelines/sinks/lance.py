"""Lance datasets as what a job writes: `--output lance:PATH`."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.sink import Sink
from beamsplit.pipelines.sinks.table import (
    TableSink,
    check_folder_of_table,
    check_makes_new,
    check_mode_of_table,
    notes_of_table,
)
from beamsplit.transforms.formats.lance import LanceName, import_lance, open_lance, parse_lance
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.step import Step
from beamsplit.transforms.tables.lance_columns import lance_schema
from beamsplit.transforms.tables.lance_index import bound_index, parse_index
from beamsplit.transforms.tables.lance_write import LanceCommit, dataset_like, has_commit, opened
from beamsplit.transforms.tables.left_files import is_named_so
from beamsplit.transforms.write.lance_file import VERSION

EXTENSION = ".lance"
"""Of the files."""


def find_table(options: ScoreOptions, local: bool) -> LanceSink:
    """The dataset of `--output`.

    Raises:
        UsageError: it cannot be written to, or is there.
    """
    asked = options.sink
    name = parse_lance(asked.output, "--output")
    check_makes_new(asked.output, "version", name.version)
    for option in ("merge_on", "overwrite_where"):
        if getattr(asked, option):
            raise UsageError(
                f"--{option} is for tables of Delta, Iceberg and databases, and --output {asked.output} is a Lance "
                "dataset; type --append or --overwrite"
            )
    import_lance("--output")
    dataset = opened(name)
    _check_folder(name, dataset is not None, asked.resume)
    mode = check_mode_of_table(options, str(name), dataset is not None, has_commit(dataset, asked.commit_id))
    job_id = uuid.uuid4().hex[:12]
    commit = LanceCommit(
        name,
        mode,
        asked.commit_id or job_id,
        job_id,
        dataset.schema.remove_metadata() if mode == "append" and dataset is not None else None,
        None if dataset is None else dataset.data_storage_version,
        tuple(map(parse_index, asked.lance_index)),
    )
    notes = notes_of_table(options, str(name), dataset is not None, commit)
    return LanceSink(commit, localize(options.binding.model), notes)


def folder_of(output: str) -> str:
    """Where the files of the dataset lie that `--output` names.

    Raises:
        UsageError: it names none.
    """
    return _data_folder(parse_lance(output, "--output"))


def _data_folder(name: LanceName) -> str:
    return f"{name.path.rstrip('/')}/data"


def _check_folder(name: LanceName, there: bool, resume: bool) -> None:
    """Raise for a folder that cannot become a dataset's.

    Raises:
        UsageError: it is a file, has other files in it, or may not be written.
    """
    folder = os.path.abspath(name.path)
    if not there and os.path.isdir(folder):
        data = os.path.join(folder, "data")
        others = [one for one in os.listdir(folder) if one != "data" and not one.startswith(".")]
        files = os.listdir(data) if os.path.isdir(data) else []
        others += [one for one in files if not one.startswith(".") and not (resume and is_named_so(one))]
        if others:
            raise UsageError(
                f"--output {name}: the folder is no dataset, and has files in it; give a folder that is new"
            )
    check_folder_of_table(str(name), folder)


def _check_columns(name: str, columns: pa.Schema, version: str | None) -> None:
    """Raise for names and types that Lance does not take.

    Raises:
        UsageError: says why.
    """
    try:
        dataset_like(columns, version)
    except Exception as error:  # Lance's, of many kinds.
        why = " ".join(str(error).split()).split(", /")[0][:300]
        raise UsageError(
            f"--output {name}: a dataset cannot have these columns: {why}; leave them out of --keep, or convert them "
            "with --prepare module:function"
        ) from error


@dataclass(frozen=True)
class LanceSink(TableSink):
    """Predictions as rows of a Lance dataset, which one version adds."""

    commit: LanceCommit

    extension: ClassVar[str] = EXTENSION

    @property
    def job(self) -> str:
        """As the version's transaction has it."""
        return self.commit.commit_id

    @property
    def folder(self) -> str:
        """That of data files."""
        return _data_folder(self.commit.name)

    @property
    def file_schema(self) -> pa.Schema:
        """Their columns, and the version of the files."""
        assert self.commit.columns is not None
        version = self.commit.version
        return self.commit.columns.with_metadata(None if version is None else {VERSION: version.encode()})

    def columns_of(self, schema: pa.Schema) -> pa.Schema:
        """Vectors keep their size."""
        return lance_schema(schema, f"--output {self.name}")

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the indexes that suit the columns."""
        made, steps = super().ready(schema)
        assert isinstance(made, LanceSink) and made.commit.columns is not None
        _check_columns(made.name, made.commit.columns, made.commit.version)
        indexes = tuple(bound_index(one, made.commit.columns) for one in self.commit.indexes)
        return replace(made, commit=replace(made.commit, indexes=indexes)), steps

    def files(self) -> list[str]:
        """The version of the dataset that has the rows, or a later one."""
        dataset: Any = open_lance(self.commit.name, "--output")
        return [f"{self.name}@{dataset.version}"]
