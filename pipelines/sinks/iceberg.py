"""Iceberg tables as what a job writes: `--output iceberg://CATALOG/db.table`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.table import (
    TableSink,
    check_makes_new,
    check_mode_of_table,
    check_store_of_table,
    notes_of_table,
    replaced_rows,
)
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.tables.iceberg import arrow_schema
from beamsplit.transforms.tables.iceberg_catalog import (
    IcebergName,
    new_location,
    open_catalog,
    parse_iceberg,
    plain_path,
    told,
)
from beamsplit.transforms.tables.iceberg_write import IcebergCommit, has_snapshot
from beamsplit.transforms.write.storage import local_path


def find_table(options: ScoreOptions, local: bool) -> IcebergSink:
    """The table of `--output`.

    Raises:
        UsageError: it cannot be written to, or is there.
    """
    asked = options.sink
    name = parse_iceberg(asked.output, "--output")
    check_makes_new(str(name), "snapshot", name.snapshot)
    catalog = open_catalog(name, "--output")
    table = _table(catalog, name)
    if table is not None and table.format_version > 2:
        raise UsageError(
            f"--output {name} is a table of version {table.format_version}, and versions 1 and 2 are written"
        )
    mode = check_mode_of_table(options, str(name), table is not None, has_snapshot(table, asked.commit_id))
    location = table.location() if table is not None else new_location(catalog, name)
    if local_path(plain_path(location)) is None:
        check_store_of_table(plain_path(location), str(name))
    from beamsplit.transforms.tables.iceberg_files import partitions_of

    schema = None if table is None else arrow_schema(table, table.schema())
    job_id = uuid.uuid4().hex[:12]
    commit = IcebergCommit(
        name,
        mode,
        location,
        asked.commit_id or job_id,
        job_id,
        None if mode == "error" else schema,
        merge_on=asked.merge_on,
        partitions=None if table is None else partitions_of(name, table, "--output"),
        where=replaced_rows(asked.overwrite_where, schema),
    )
    notes = notes_of_table(options, str(name), table is not None, commit)
    return IcebergSink(commit, localize(options.binding.model), notes)


def folder_of(output: str) -> str:
    """Where the data files of the table lie, or will, that `--output` names.

    Raises:
        UsageError: it names none, or the catalog does not answer.
    """
    name = parse_iceberg(output, "--output")
    catalog = open_catalog(name, "--output")
    table = _table(catalog, name)
    if table is not None:
        return _data_folder(table.location())
    location = new_location(catalog, name)
    if location != new_location(catalog, name):
        raise UsageError(
            f"--resume looks for what is done in the table's folder, and the catalog {name.catalog} has another one "
            f"for {name.table} each time: create the table, and add --append"
        )
    return _data_folder(location)


def _data_folder(location: str) -> str:
    return f"{plain_path(location).rstrip('/')}/data"


def _table(catalog: Any, name: IcebergName) -> Any:
    """The table, or None where there is none.

    Raises:
        UsageError: there is no such namespace, or the catalog does not answer.
    """
    from pyiceberg.exceptions import NoSuchTableError

    namespace = name.table.rpartition(".")[0]
    try:
        return catalog.load_table(name.table)
    except NoSuchTableError:
        if catalog.namespace_exists(namespace):
            return None
        raise UsageError(
            f"--output {name}: the catalog {name.catalog} has no namespace {namespace}; create it"
        ) from None
    except Exception as error:  # Whatever a catalog, its driver or a store tells.
        raise UsageError(f"--output {name} cannot be opened: {told(error)}") from error


@dataclass(frozen=True)
class IcebergSink(TableSink):
    """Predictions as rows of an Iceberg table, which one snapshot adds."""

    commit: IcebergCommit

    @property
    def job(self) -> str:
        """As the snapshot has it."""
        return self.commit.commit_id

    @property
    def folder(self) -> str:
        """That of data files in the table's location."""
        return _data_folder(self.commit.location)

    def files(self) -> list[str]:
        """The snapshot that has the rows, or a later one."""
        table = _table(open_catalog(self.commit.name, "--output"), self.commit.name)
        current = None if table is None else table.current_snapshot()
        return [self.name if current is None else f"{self.name}@{current.snapshot_id}"]
