"""Files that a job wrote, added to a Delta table in one commit.

files in the table's folder (nobody reads them yet) -> one entry of the log -> they are the table's
"""

from __future__ import annotations

import datetime
import json
import os
import posixpath
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.parquet_bounds import chunk_bounds
from beamsplit.transforms.tables.delta import DeltaName, import_deltalake
from beamsplit.transforms.write.storage import remove

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""

PREFIX = "beamsplit:"
"""Keeps our transactions apart from those of others."""

LONGEST_TEXT = 64
"""Characters of texts that are told as bounds; longer ones are not."""


class TableChanged(RuntimeError):
    """Another writer has changed the table so that the commit cannot be made, in one line."""


@dataclass(frozen=True)
class DeltaCommit:
    """What a job does to a table at its end."""

    name: DeltaName
    mode: str
    """`"error"` (the table must not be there), `"append"`, `"overwrite"`, or `"merge"`."""

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

    columns: pa.Schema | None = None
    """Those that are written, once they are known."""

    def __call__(self, names: Sequence[str]) -> None:
        """Commit files that lie in the table's folder; it may be called again after it was stopped anywhere.

        Raises:
            TableChanged: another writer was faster, and the files are removed.
        """
        try:
            self._commit(names)
        except BaseException as error:
            if not self._are_committed(names):
                for path in names:
                    remove(path)
            if isinstance(error, (TableChanged, KeyboardInterrupt, SystemExit)):
                raise
            raise TableChanged(f"{self.name} could not be written: {' '.join(str(error).split())[:300]}") from error

    @property
    def moves(self) -> bool:
        """What is merged with rows that are there is read only."""
        return self.mode != "merge" or self._table() is None

    def is_done(self) -> bool:
        """Whether the table has these rows, by an earlier call or another run."""
        return self._has(self._table(), self.commit_id)

    def is_known(self, job_id: str) -> bool:
        """Whether the table has, or had, files of the job."""
        table = self._table()
        return self._has(table, job_id) or (
            table is not None and any(f"/part-{job_id}-" in path for path in table.file_uris())
        )

    def _has(self, table: Any, transaction: str) -> bool:
        return table is not None and table.transaction_version(f"{PREFIX}{transaction}") is not None

    def _table(self) -> Any:
        deltalake = import_deltalake("--output")
        there = os.path.isdir(os.path.join(self.name.path, "_delta_log"))
        return deltalake.DeltaTable(self.name.path) if there else None

    def _are_committed(self, names: Sequence[str]) -> bool:
        """Whether the files are the table's."""
        table = self._table()
        active = {os.path.realpath(path) for path in table.file_uris()} if table is not None else set()
        return any(os.path.realpath(path) in active for path in names)

    def _commit(self, names: Sequence[str]) -> None:
        deltalake = import_deltalake("--output")
        full = [path for path in names if pq.read_metadata(path).num_rows]
        if self.mode == "merge":
            check_keys(full, self.merge_on)
        for attempt in range(ATTEMPTS):
            table = self._table()
            if self._has(table, self.commit_id):
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
        if self.mode in ("append", "merge") and table is not None:
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
        actions = [self._action(path) for path in names]
        if table is None:
            create_table_with_add_actions(
                self.name.path, schema, actions, mode="error", commit_properties=self._properties()
            )
        else:
            mode = "append" if self.mode == "merge" else self.mode
            table.create_write_transaction(actions, mode, schema, commit_properties=self._properties())

    def _action(self, path: str) -> Any:
        from deltalake.transaction import AddAction

        found = os.stat(path)
        relative = quote(posixpath.relpath(path, self.name.path))
        return AddAction(relative, found.st_size, {}, found.st_mtime_ns // 10**6, True, file_stats(path))

    def _merge(self, table: Any, names: Sequence[str]) -> None:
        on = " and ".join(f't."{key}" = s."{key}"' for key in (key.replace('"', '""') for key in self.merge_on))
        assert self.columns is not None
        source = pa.RecordBatchReader.from_batches(self.columns, _batches(names))
        merge = table.merge(source, on, source_alias="s", target_alias="t", commit_properties=self._properties())
        merge.when_matched_update_all().when_not_matched_insert_all().execute()


def _batches(names: Sequence[str]) -> Any:
    for path in names:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield batch.replace_schema_metadata(None)


def _remove_all(names: Any) -> None:
    for path in names:
        remove(path)


def check_keys(names: Sequence[str], keys: Sequence[str]) -> None:
    """Raise unless each row of the files has keys of its own, without nulls.

    Raises:
        TableChanged: two have the same.
    """
    if not names:
        return
    rows = pa.concat_tables([pq.read_table(path, columns=list(keys)) for path in names])
    for key in keys:
        if rows[key].null_count:
            raise TableChanged(f"--merge_on {key}: {rows[key].null_count:,} rows have no value in it; give all one")
    if rows.group_by(list(keys)).aggregate([]).num_rows != rows.num_rows:
        raise TableChanged(
            f"--merge_on {','.join(keys)}: several rows have the same; name columns that tell rows apart"
        )


def file_stats(path: str) -> str:
    """What a log tells of a file: its rows, nulls, and bounds of columns whose bounds JSON holds as they are.

    Floats have none: a footer does not tell whether there is a NaN among them, which is greater than all for some.
    """
    meta = pq.read_metadata(path)
    schema = meta.schema.to_arrow_schema()
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for at in range(meta.row_group(0).num_columns if meta.num_row_groups else 0):
        name = meta.row_group(0).column(at).path_in_schema
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        found = [chunk_bounds(meta.row_group(group).column(at), kind) for group in range(meta.num_row_groups)]
        if all(one is not None and one.nulls is not None for one in found):
            nulls[name] = sum(one.nulls for one in found if one is not None and one.nulls is not None)
        known = [one for one in found if one is not None and not one.only_nulls]
        if len([one for one in found if one is None or (one.least is None and not one.only_nulls)]) or not known:
            continue
        low, high = (
            _told(function(getattr(one, side).as_py() for one in known))
            for function, side in ((min, "least"), (max, "most"))
        )
        if low is not None and high is not None:
            least[name], most[name] = low, high
    return json.dumps({"numRecords": meta.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls})


def _told(value: Any) -> Any:
    """The value as JSON; None for one that is not told."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) or (isinstance(value, str) and len(value) <= LONGEST_TEXT):
        return value
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    return None


def check_delta_output(name: DeltaName, table: Any, option: str) -> None:
    """Raise for a table that cannot be written to.

    Raises:
        UsageError: with what to do.
    """
    if table is None:
        return
    partitions = table.metadata().partition_columns
    if partitions:
        raise UsageError(
            f"{option} {name} is partitioned by {', '.join(partitions)}, and files are written for tables without "
            "partitions only; name another table"
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
