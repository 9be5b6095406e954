"""Files that a job wrote, added to an Iceberg table in one snapshot."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.tables.delta_write import TableChanged
from beamsplit.transforms.tables.iceberg import IcebergName, arrow_schema, open_catalog, told
from beamsplit.transforms.write.storage import remove

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""

JOB = "beamsplit.job"
"""The property of a snapshot by which a commit is known."""


@dataclass(frozen=True)
class IcebergCommit:
    """What a job does to a table at its end."""

    name: IcebergName
    mode: str
    """`"error"` (the table must not be there), `"append"`, or `"overwrite"`."""

    location: str
    """The folder of the table, where the files lie."""

    commit_id: str
    """What the snapshot is known by: one that the table has is not made again."""

    job_id: str
    """Names the files."""

    schema: pa.Schema | None = None
    """The columns of the table that is there; None of one that is made."""

    told: tuple[tuple[str, str], ...] = ()
    """What the snapshot tells of itself."""

    columns: pa.Schema | None = None
    """Those that are written, once they are known."""

    moves = True

    def is_known(self, job_id: str) -> bool:
        """Whether the table has files of the job, in any of its snapshots."""
        return any(f"/part-{job_id}-" in path for path in self._known_files())

    def _known_files(self) -> set[str]:
        """The data files of all snapshots of the table."""
        table = self._table()
        found = [] if table is None else table.inspect.all_data_files()["file_path"].to_pylist()
        return {path.removeprefix("file://") for path in found}

    def is_done(self) -> bool:
        """Whether a snapshot of the table has these rows."""
        table = self._table()
        return table is not None and any(
            one.summary is not None and one.summary.additional_properties.get(JOB) == self.commit_id
            for one in table.snapshots()
        )

    def __call__(self, names: Sequence[str]) -> None:
        """Commit files that lie in the table's folder; it may be called again after it was stopped anywhere.

        Raises:
            TableChanged: another writer was faster, or the catalog refuses, and the files are removed.
        """
        from pyiceberg.exceptions import CommitStateUnknownException

        try:
            self._commit(names)
        except CommitStateUnknownException as error:
            if self.is_done():
                return
            raise TableChanged(
                f"{self.name}: the catalog did not tell whether the rows are the table's by now: {told(error)}; look, "
                "or run it again with the same --commit_id"
            ) from error
        except BaseException as error:
            self._remove_unknown(names)
            if isinstance(error, (TableChanged, KeyboardInterrupt, SystemExit)):
                raise
            raise TableChanged(f"{self.name} could not be written: {told(error)}") from error

    def _remove_unknown(self, names: Sequence[str]) -> None:
        """Remove files that are none of the table's."""
        for path in set(names) - self._known_files():
            remove(path)

    def _table(self) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return open_catalog(self.name, "--output").load_table(self.name.table)
        except NoSuchTableError:
            return None

    def _commit(self, names: Sequence[str]) -> None:
        from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

        full = [path for path in names if pq.read_metadata(path).num_rows]
        for attempt in range(ATTEMPTS):
            table = self._table()
            if table is not None and self.is_done():
                self._remove_unknown(names)
                return
            if self.mode == "error" and table is not None:
                raise TableChanged(f"{self.name} is there by now, and is not written without --append or --overwrite")
            if table is not None and not arrow_schema(table, table.schema()).equals(self.schema):
                raise TableChanged(f"{self.name} has other columns by now than when the job began: run it again")
            try:
                self._add(table, [path if "://" in path else f"file://{path}" for path in full])
            except TableAlreadyExistsError:
                continue
            except CommitFailedException:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, 0.1 * (attempt + 1)))
                continue
            for path in set(names) - set(full):
                remove(path)
            return

    def _add(self, table: Any, paths: list[str]) -> None:
        from pyiceberg.table import TableProperties

        properties = {**dict(self.told), JOB: self.commit_id}
        if table is None:
            catalog = open_catalog(self.name, "--output")
            with catalog.create_table_transaction(self.name.table, schema=self.columns, location=self.location) as made:
                made.add_files(paths, snapshot_properties=properties)
            return
        # It would try again by itself without looking who was faster.
        table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        with table.transaction() as change:
            if self.mode == "append" or table.current_snapshot() is None:
                change.add_files(paths, snapshot_properties=properties)
            else:
                _replace_files(change, table, paths, properties)


def _replace_files(change: Any, table: Any, paths: list[str], properties: dict[str, str]) -> None:
    """One snapshot that has these files, and none of those before."""
    from pyiceberg.io.pyarrow import parquet_files_to_data_files
    from pyiceberg.table import TableProperties

    metadata = change.table_metadata
    if metadata.name_mapping() is None:
        # Our files have no numbers of columns.
        names = metadata.schema().name_mapping.model_dump_json()
        change.set_properties(**{TableProperties.DEFAULT_NAME_MAPPING: names})
    with change.update_snapshot(snapshot_properties=properties).overwrite() as replaced:
        for task in table.scan().plan_files():
            replaced.delete_data_file(task.file)
        for file in parquet_files_to_data_files(table.io, change.table_metadata, iter(paths)):
            replaced.append_data_file(file)
