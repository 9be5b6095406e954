"""Files that a job wrote, added to an Iceberg table in one snapshot."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.transforms.tables.iceberg import arrow_schema, iceberg_snapshot
from beamsplit.transforms.tables.iceberg_catalog import IcebergName, open_catalog, plain_path, told
from beamsplit.transforms.tables.iceberg_deletes import snapshot_files
from beamsplit.transforms.tables.merge_keys import TableChanged, check_keys, footer, read_keys
from beamsplit.transforms.tables.rewrite import Goes, Keys, Where, kept_name, rewritten
from beamsplit.transforms.write.partitioned import PartitionWriters
from beamsplit.transforms.write.storage import remove
from beamsplit.transforms.write.temp_file import Target

if TYPE_CHECKING:
    from beamsplit.transforms.tables.partitions import ByTransforms

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""

JOB = "beamsplit.job"
"""The property of a snapshot by which a commit is known."""


@dataclass(frozen=True)
class IcebergCommit:
    """What a job does to a table at its end."""

    name: IcebergName
    mode: str
    """`"error"` (the table must not be there), `"append"`, `"overwrite"`, `"merge"`, or `"where"`."""

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

    merge_on: tuple[str, ...] = ()
    """Columns by which rows that are there are known, for `"merge"`."""

    partitions: ByTransforms | None = None
    """By what the table's rows are put together in files."""

    where: Where | None = None
    """Which rows are replaced, for `"where"`."""

    columns: pa.Schema | None = None
    """Those that are written, once they are known."""

    keeps_files: bool = False
    """Whether the files stay where the commit fails: a job with `--resume` tries again with them."""

    moves = True

    def is_known(self, job_id: str) -> bool:
        """Whether the table has files of the job, in any of its snapshots."""
        return any(f"/part-{job_id}-" in path for path in self._known_files())

    def _known_files(self) -> set[str]:
        """The data files of all snapshots of the table."""
        table = self._table()
        found = [] if table is None else table.inspect.all_data_files()["file_path"].to_pylist()
        return {plain_path(path) for path in found}

    def is_done(self) -> bool:
        """Whether a snapshot of the table has these rows."""
        return has_snapshot(self._table(), self.commit_id)

    def __call__(self, names: Sequence[str]) -> None:
        """Commit files that lie in the table's folder; it may be called again after it was stopped anywhere.

        Raises:
            TableChanged: another writer was faster, or the catalog refuses, and the files are removed.
        """
        from pyiceberg.exceptions import CommitStateUnknownException

        try:
            self._commit(names)
        except CommitStateUnknownException as error:
            raise TableChanged(
                f"{self.name}: the catalog did not tell whether the rows are the table's by now: {told(error)}; look, "
                "or run it again with the same --commit_id"
            ) from error
        except BaseException as error:
            if not self.keeps_files:
                self._remove_unknown(names)
            if isinstance(error, (TableChanged, KeyboardInterrupt, SystemExit)):
                raise
            raise TableChanged(f"{self.name} could not be written: {told(error)}") from error

    def _remove_unknown(self, names: Sequence[str]) -> None:
        """Remove files that are none of the table's, as far as the catalog tells."""
        if not names:
            return
        try:
            gone = set(names) - self._known_files()
        except Exception:  # Whatever a catalog tells: what may be the table's stays.
            return
        for path in gone:
            remove(path)

    def _table(self) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return open_catalog(self.name, "--output").load_table(self.name.table)
        except NoSuchTableError:
            return None

    def _commit(self, names: Sequence[str]) -> None:
        """Try until it is known what came of it.

        A commit is made on top of what was looked at, or not at all. So one of which no answer came is tried again: at
        most one of them is made, and the next look finds it.
        """
        from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, TableAlreadyExistsError

        full = [path for path in names if footer(path).num_rows]
        if self.mode == "merge":
            check_keys(full, self.merge_on)
        unknown: Exception | None = None
        more: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                self._once(names, full, more)
                self._remove_unknown(more)
                return
            except Exception as error:
                if isinstance(error, CommitStateUnknownException):
                    unknown = error
                lost = isinstance(error, (CommitFailedException, TableAlreadyExistsError))
                if not lost and unknown is None:
                    raise
                if attempt + 1 == ATTEMPTS:
                    if unknown is None:
                        raise
                    raise CommitStateUnknownException(told(unknown)) from error
            longest = 0.1 * (attempt + 1) if unknown is None else min(0.2 * 2**attempt, 5.0)
            time.sleep(random.uniform(0, longest))

    def _once(self, names: Sequence[str], full: Sequence[str], more: list[str]) -> None:
        """Look, and commit if it was not done; what is written beside `names` is added to `more`."""
        table = self._table()
        if table is not None and self.is_done():
            self._remove_unknown(names)
            return
        if self.mode == "error" and table is not None:
            raise TableChanged(f"{self.name} is there by now, and is not written without --append or --overwrite")
        self._check(table)
        self._add(table, full, more)
        for path in set(names) - set(full):
            remove(path)

    def _check(self, table: Any) -> None:
        """Raise where the table is not what the files were written for."""
        if table is None:
            if self.mode == "where":
                raise TableChanged(f"{self.name} is gone by now: run it again")
            return
        if not arrow_schema(table, table.schema()).equals(self.schema):
            raise TableChanged(f"{self.name} has other columns by now than when the job began: run it again")
        from beamsplit.transforms.tables.iceberg_files import partitions_of

        if partitions_of(self.name, table, "--output") != self.partitions:
            raise TableChanged(f"{self.name} is partitioned otherwise by now than when the job began: run it again")

    def _add(self, table: Any, paths: Sequence[str], more: list[str]) -> None:
        from pyiceberg.exceptions import CommitStateUnknownException
        from pyiceberg.table import TableProperties

        from beamsplit.transforms.tables.iceberg_files import add_files

        properties = {**dict(self.told), JOB: self.commit_id}
        if table is None:
            catalog = open_catalog(self.name, "--output")
            made = catalog.create_table_transaction(self.name.table, schema=self.columns, location=self.location)
            add_files(made, made._table.io, paths, None, properties)
            _answered(made.commit_transaction)
            return
        # It would try again by itself without looking who was faster.
        table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        kept: list[str] = []
        try:
            gone, kept = self._replaced(table, paths)
            change = table.transaction()
            add_files(change, table.io, [*paths, *kept], self.partitions, properties, gone)
            _answered(change.commit_transaction)
        except CommitStateUnknownException:
            more.extend(kept)
            raise
        except BaseException:
            self._remove_unknown(kept)
            raise

    def _replaced(self, table: Any, paths: Sequence[str]) -> tuple[list[Any], list[str]]:
        """(data files that go, new files of those of their rows that stay)."""
        current = table.current_snapshot()
        if current is None or self.mode == "append":
            return [], []
        entries = snapshot_files(table, current.snapshot_id).data
        files = {plain_path(entry.data_file.file_path): entry.data_file for entry in entries}
        if self.mode == "overwrite":
            return list(files.values()), []
        schema = arrow_schema(table, table.schema())
        goes: Goes = self.where if self.where is not None else Keys(read_keys(paths, self.merge_on))
        node = None if self.where is None else self.where.node
        inputs = iceberg_snapshot(self.name, table, schema, node, "--output").files
        assert self.columns is not None
        begin = f"{plain_path(self.location).rstrip('/')}/data/part-{self.job_id}"
        target = Target(f"{begin}-*.parquet", self.columns, self.job_id)
        kept = PartitionWriters(target, self.partitions, partial(kept_name, begin))
        try:
            gone = rewritten(inputs, goes, schema, kept) if paths or self.where is not None else []
            return [files[one.path] for one in gone], [one.path for one in kept.close()]
        except BaseException:
            kept.abort()
            self._remove_unknown([one.path for one in kept.files])
            raise


def _answered(commit: Callable[[], Any]) -> None:
    """Commit, where all that is no refusal leaves open whether it was made.

    Raises:
        CommitStateUnknownException: nobody knows.
        Exception: it was refused.
    """
    from pyiceberg import exceptions as known

    refused = (
        known.CommitFailedException,
        known.TableAlreadyExistsError,
        known.NoSuchTableError,
        known.NoSuchNamespaceError,
        known.BadRequestError,
        known.UnauthorizedError,
        known.AuthorizationExpiredError,
        known.ForbiddenError,
        known.ValidationException,
        known.CommitStateUnknownException,
        NotImplementedError,
    )
    try:
        commit()
    except refused:
        raise
    except Exception as error:  # A connection that was cut, an answer that cannot be read, a database that is locked.
        raise known.CommitStateUnknownException(told(error)) from error


def has_snapshot(table: Any, commit_id: str | None) -> bool:
    """Whether a table is there, and has a snapshot that is known by this."""
    return None not in (table, commit_id) and any(
        one.summary is not None and one.summary.additional_properties.get(JOB) == commit_id for one in table.snapshots()
    )
