"""Files that a job wrote, added to a Delta table in one commit.

files in the table's folder (nobody reads them yet) -> one entry of the log -> they are the table's
"""

from __future__ import annotations

import json
import posixpath
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.models.errors import UsageError
from beamsplit.transforms.tables.delta import DeltaName, delta_snapshot, import_deltalake, opened, path_of_file, told
from beamsplit.transforms.tables.delta_stats import file_stats
from beamsplit.transforms.tables.merge_keys import TableChanged, check_keys, footer
from beamsplit.transforms.tables.partitions import PARTITION, ByColumns, can_partition
from beamsplit.transforms.tables.rewrite import Where, kept_name, rewritten
from beamsplit.transforms.write.partitioned import PartitionWriters
from beamsplit.transforms.write.storage import open_input, remove, size_of
from beamsplit.transforms.write.temp_file import Target

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""

PREFIX = "beamsplit:"
"""Keeps our transactions apart from those of others."""


@dataclass(frozen=True)
class DeltaCommit:
    """What a job does to a table at its end."""

    name: DeltaName
    mode: str
    """`"error"` (the table must not be there), `"append"`, `"overwrite"`, `"merge"`, or `"where"`."""

    schema: pa.Schema | None
    """The columns of the table that is there, where it keeps them; None of one that is made anew."""

    commit_id: str
    """What the commit is known by: one that the table has is not made again."""

    job_id: str
    """Names the files, and is in the log too: files of jobs that are not there are nobody's."""

    told: tuple[tuple[str, str], ...] = ()
    """What the commit tells of itself: the model's version, the job."""

    merge_on: tuple[str, ...] = ()
    """Columns by which rows that are there are known, for `"merge"`."""

    partition_by: tuple[str, ...] = ()
    """The columns that the table is partitioned by."""

    where: Where | None = None
    """Which rows are replaced, for `"where"`."""

    columns: pa.Schema | None = None
    """Those that are written, once they are known."""

    keeps_files: bool = False
    """Whether the files stay where the commit fails: a job with `--resume` tries again with them."""

    def __call__(self, names: Sequence[str]) -> None:
        """Commit files that lie in the table's folder; it may be called again after it was stopped anywhere.

        Raises:
            TableChanged: another writer was faster, and the files are removed.
        """
        try:
            self._commit(names)
        except BaseException as error:
            if not self.keeps_files and not self._are_committed(names):
                for path in names:
                    remove(path)
            if isinstance(error, (TableChanged, KeyboardInterrupt, SystemExit)):
                raise
            raise TableChanged(f"{self.name} could not be written: {told(error)}") from error

    @property
    def moves(self) -> bool:
        """What is merged with rows that are there is read only."""
        return self.mode != "merge" or self._table() is None

    @property
    def partitions(self) -> ByColumns | None:
        """By what rows are put together; what is merged is so by the merge."""
        return ByColumns(self.partition_by) if self.partition_by and self.mode != "merge" else None

    def is_done(self) -> bool:
        """Whether the table has these rows, by an earlier call or another run."""
        return has_transaction(self._table(), self.commit_id)

    def is_known(self, job_id: str) -> bool:
        """Whether the table has, or had, files of the job."""
        table = self._table()
        return has_transaction(table, job_id) or (
            table is not None and any(f"/part-{job_id}-" in path for path in table.file_uris())
        )

    def _table(self) -> Any:
        return opened(self.name, "--output")

    def _are_committed(self, names: Sequence[str]) -> bool:
        """Whether the files are the table's."""
        table = self._table()
        active = {posixpath.basename(path) for path in table.file_uris()} if table is not None else set()
        return any(posixpath.basename(path) in active for path in names)

    def _commit(self, names: Sequence[str]) -> None:
        deltalake = import_deltalake("--output")
        full = [path for path in names if footer(path).num_rows]
        if self.mode == "merge":
            check_keys(full, self.merge_on)
        for attempt in range(ATTEMPTS):
            table = self._table()
            if has_transaction(table, self.commit_id):
                if not self._are_committed(names):
                    _remove_all(names)
                return
            self._check(table)
            try:
                if self.mode == "merge" and table is not None:
                    self._merge(table, full)
                    _remove_all(names)
                else:
                    self._add(table, full)
                    _remove_all(set(names) - set(full))
                return
            except deltalake.exceptions.CommitFailedError:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, 0.1 * (attempt + 1)))

    def _check(self, table: Any) -> None:
        """Raise where the table is not what the files were written for."""
        if self.mode == "error" and table is not None:
            raise TableChanged(f"{self.name} is there by now, and is not written without --append or --overwrite")
        if table is None and self.mode == "where":
            raise TableChanged(f"{self.name} is gone by now: run it again")
        if table is not None and tuple(table.metadata().partition_columns) != self.partition_by:
            raise TableChanged(f"{self.name} is partitioned otherwise by now than when the job began: run it again")
        if table is not None:
            now = pa.schema(table.schema().to_arrow())
            if self.schema is not None and not now.equals(self.schema):
                raise TableChanged(f"{self.name} has other columns by now than when the job began: run it again")

    def _properties(self) -> Any:
        from deltalake.transaction import CommitProperties, Transaction

        known = dict.fromkeys((self.commit_id, self.job_id))
        return CommitProperties(dict(self.told), app_transactions=[Transaction(f"{PREFIX}{one}", 1) for one in known])

    def _add(self, table: Any, names: Sequence[str]) -> None:
        from deltalake import Schema
        from deltalake.transaction import create_table_with_add_actions

        assert self.columns is not None
        schema = Schema.from_arrow(self.columns)
        actions: list[Any] = [self._action(path) for path in names]
        if table is None:
            create_table_with_add_actions(
                self.name.path,
                schema,
                actions,
                mode="error",
                storage_options=self.name.storage,
                commit_properties=self._properties(),
            )
            return
        kept: list[str] = []
        try:
            if self.mode == "where":
                gone, kept = self._replaced(table)
                actions += [*gone, *map(self._action, kept)]
            mode = "overwrite" if self.mode == "overwrite" else "append"
            by = list(self.partition_by)
            table.create_write_transaction(actions, mode, schema, by, commit_properties=self._properties())
        except BaseException:
            if not self._are_committed(kept):
                _remove_all(kept)
            raise

    def _replaced(self, table: Any) -> tuple[list[Any], list[str]]:
        """(what takes files with rows that go out of the table, new files of those of their rows that stay)."""
        from deltalake.transaction import RemoveAction

        assert self.where is not None and self.columns is not None
        files = delta_snapshot(self.name, table, self.where.node, "--output").files
        target = Target(f"{self.name.path}/part-{self.job_id}-*.parquet", self.columns, self.job_id)
        kept = PartitionWriters(target, self.partitions, partial(kept_name, f"{self.name.path}/part-{self.job_id}"))
        try:
            gone = rewritten(files, self.where, self.columns, kept)
            paths = [file.path for file in kept.close()]
        except BaseException:
            kept.abort()
            _remove_all(file.path for file in kept.files)
            raise
        now = int(time.time() * 1000)
        logged = pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()
        as_logged = {path_of_file(self.name, path, "--output"): path for path in logged}
        return [RemoveAction(as_logged[file.path], True, now, file.size) for file in gone], paths

    def _action(self, path: str) -> Any:
        from deltalake.transaction import AddAction

        size = size_of(path)
        if size is None:
            raise FileNotFoundError(f"{path} is gone while the job still runs")
        relative = quote(posixpath.relpath(path, self.name.path))
        values = json.loads((footer(path).metadata or {}).get(PARTITION, b"{}"))
        return AddAction(relative, size, values, int(time.time() * 1000), True, file_stats(path))

    def _merge(self, table: Any, names: Sequence[str]) -> None:
        on = " and ".join(f't."{key}" = s."{key}"' for key in (key.replace('"', '""') for key in self.merge_on))
        assert self.columns is not None
        source = pa.RecordBatchReader.from_batches(self.columns, _batches(names))
        merge = table.merge(source, on, source_alias="s", target_alias="t", commit_properties=self._properties())
        merge.when_matched_update_all().when_not_matched_insert_all().execute()


def has_transaction(table: Any, commit_id: str | None) -> bool:
    """Whether a table is there, and has a commit that is known by this."""
    return None not in (table, commit_id) and table.transaction_version(f"{PREFIX}{commit_id}") is not None


def _batches(names: Sequence[str]) -> Any:
    for path in names:
        with open_input(path) as opened_file, pq.ParquetFile(opened_file) as file:
            for batch in file.iter_batches():
                yield batch.replace_schema_metadata(None)


def _remove_all(names: Any) -> None:
    for path in names:
        remove(path)


def check_delta_output(name: DeltaName, table: Any, option: str) -> None:
    """Raise for a table that cannot be written to.

    Raises:
        UsageError: with what to do.
    """
    if table is None:
        return
    schema = pa.schema(table.schema().to_arrow())
    for column in table.metadata().partition_columns:
        kind = schema.field(column).type
        if not can_partition(kind):
            raise UsageError(
                f"{option} {name} is partitioned by {column!r}, and files are not written by values of type {kind}; "
                "name another table"
            )
    features = set(table.protocol().writer_features or ()) - {
        "timestampNtz",
        "appendOnly",
        "invariants",
        "v2Checkpoint",
        "vacuumProtocolCheck",
    }
    if features:
        raise UsageError(
            f"{option} {name} has the feature {', '.join(sorted(features))}, which is not written; name another table"
        )
