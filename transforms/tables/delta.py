"""Delta Lake tables: the active files of a version, with what the log tells of them."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.infer_schema import UNREADABLE
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.tables.table_file import TableFile, file_stamp
from beamsplit.transforms.where import Bounds, Node, may_match

if TYPE_CHECKING:
    from deltalake import DeltaTable

READ = frozenset(
    {"timestampNtz", "columnMapping", "deletionVectors", "v2Checkpoint", "vacuumProtocolCheck", "typeWidening"}
)
"""Features of a table that files are read right with."""

_PHYSICAL, _ID = "delta.columnMapping.physicalName", "delta.columnMapping.id"


@dataclass(frozen=True)
class DeltaName:
    """How an option names a table: `delta:PATH`, and `@` with a version or a time."""

    path: str
    version: int | str | None = None

    @property
    def storage(self) -> dict[str, str] | None:
        """What the library is told of a store that the environment does not say; None for this machine."""
        if is_local(self.path):
            return None
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return {"AWS_ALLOW_HTTP": "true"} if plain and self.path.startswith("s3://") else {}

    def __str__(self) -> str:
        """As it is typed."""
        return f"delta:{self.path}" + ("" if self.version is None else f"@{self.version}")


def parse_delta(name: str, option: str) -> DeltaName:
    """The table that a name says.

    >>> parse_delta("delta:data/sales@3", "--input"), parse_delta("delta:///data/sales", "--input").path
    (DeltaName(path='data/sales', version=3), '/data/sales')

    Raises:
        UsageError: it says none.
    """
    rest = name.removeprefix("delta:").removeprefix("//")
    found = re.fullmatch(r"(.*)@(\d+|\d{4}-\d\d-\d\d[^/@]*)", rest, re.DOTALL)
    path, version = (found[1], found[2]) if found else (rest, None)
    path = path.removeprefix("file://")
    if not path.strip("/"):
        raise UsageError(
            f"{option} {name} names no folder of a table; type e.g. delta:data/sales, or delta:data/sales@3"
        )
    return DeltaName(path, int(version) if version and version.isdigit() else version)


@dataclass(frozen=True)
class DeltaSnapshot:
    """A version of a table."""

    version: int
    files: tuple[InputFile, ...]
    """Those that are active; one of 0 bytes, which is none, where there is none."""

    left_out: int = 0
    """Rows of files that no wanted row can be in, which are not among `files`."""


def import_deltalake(option: str) -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import deltalake
    except ImportError:
        raise UsageError(
            f"{option} names a Delta table, which wants deltalake, which is not installed: "
            "pip install 'beamsplit[delta]'"
        ) from None
    return deltalake


def told(error: BaseException) -> str:
    """What the library says, in one line and without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).replace("↳", "")
    return " ".join(plain.split())[:300] or type(error).__name__


def opened(name: DeltaName, option: str) -> DeltaTable | None:
    """The table as it is now; None where there is none.

    Raises:
        UsageError: the library is not installed.
        Exception: whatever it tells of a log or a store.
    """
    deltalake = import_deltalake(option)
    if is_local(name.path) and not os.path.isdir(os.path.join(name.path, "_delta_log")):
        return None
    try:
        return deltalake.DeltaTable(name.path, storage_options=name.storage)
    except deltalake.exceptions.TableNotFoundError:
        return None


def open_delta(name: DeltaName, option: str) -> DeltaTable:
    """The table as it is at the version.

    Raises:
        UsageError: there is none, it cannot be read, or has no such version.
    """
    deltalake = import_deltalake(option)
    if is_local(name.path) and not os.path.isdir(os.path.join(name.path, "_delta_log")):
        raise UsageError(
            f"{option} {name}: there is no Delta table in {name.path} (no folder _delta_log); check the path"
        )
    try:
        if isinstance(name.version, str):
            table = deltalake.DeltaTable(name.path, storage_options=name.storage)
            table.load_as_version(name.version)
            return table
        return deltalake.DeltaTable(name.path, version=name.version, storage_options=name.storage)
    except deltalake.exceptions.TableNotFoundError as error:
        raise UsageError(f"{option} {name}: there is no Delta table in {name.path}; check the path") from error
    except Exception as error:  # Whatever the library tells of a log or a store.
        what = f"cannot be read at version {name.version}" if name.version is not None else "cannot be read"
        raise UsageError(f"{option} {name} {what}: {told(error)}") from error


def delta_snapshot(name: DeltaName, table: DeltaTable, where: Node | None, option: str) -> DeltaSnapshot:
    """The files of a table that is open, and what it tells of them.

    Args:
        name: of the table, for errors.
        table: at the version that is read.
        where: the condition that rows are kept by, bound to the table's columns: files that hold no such row are left
            out. None keeps all.
        option: that it is named by.

    Raises:
        UsageError: it has what cannot be read right.
    """
    unknown = sorted(set(table.protocol().reader_features or ()) - READ)
    if unknown:
        raise UsageError(
            f"{option} {name} has the feature {', '.join(unknown)}, which is not read here; "
            "write a table without it, or read it with a program that knows it"
        )
    columns = DeltaColumns.of(table)
    deleted = _deleted_rows(table)
    told = pa.table(table.get_add_actions(flatten=True))
    kept, left_out = [], 0
    rows = told.to_batches()
    for batch in rows:
        paths, sizes = batch.column("path").to_pylist(), batch.column("size_bytes").to_pylist()
        counts = batch.column("num_records").to_pylist() if "num_records" in batch.schema.names else [None] * len(paths)
        for at, (path, size, count) in enumerate(zip(paths, sizes, counts, strict=True)):
            where_it_is = path_of_file(name, path, option)
            gone = deleted.get(os.path.realpath(where_it_is) if is_local(where_it_is) else where_it_is)
            left = None if count is None else count - (0 if gone is None else len(gone))
            constants = columns.constants(batch, at)
            if where is not None and left is not None and not may_match(where, columns.bounds(batch, at, constants)):
                left_out += left
                continue
            file = replace(columns.file, constants=tuple(constants.items()), rows=left, deleted=gone)
            kept.append(InputFile(where_it_is, size, file_stamp(where_it_is), table=file))
    if not kept:
        kept.append(InputFile(name.path, 0, table=replace(columns.file, rows=0)))
    return DeltaSnapshot(int(table.version()), tuple(sorted(kept, key=lambda file: file.path)), left_out)


def path_of_file(name: DeltaName, path: str, option: str) -> str:
    """Where a file of the log lies, which is within the table's folder.

    Raises:
        UsageError: it is not.
    """
    relative = unquote(path)
    normal = posixpath.normpath(relative)
    if "://" in relative or posixpath.isabs(relative) or normal.startswith("..") or "\\" in relative:
        raise UsageError(
            f"{option} {name}: its log names the file {relative!r}, which is not in the table's folder (a shallow "
            "clone?); read the table that it was cloned from, or copy it"
        )
    return posixpath.join(name.path, normal)


def _deleted_rows(table: DeltaTable) -> dict[str, np.ndarray]:
    """File -> numbers of its rows that are deleted."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    found = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for path, keep in zip(batch.column(0).to_pylist(), batch.column(1), strict=True):
            mask = keep.values.to_numpy(zero_copy_only=False)
            local = unquote(path.removeprefix("file://")) if path.startswith("file://") else path
            found[os.path.realpath(local) if is_local(local) else local] = np.flatnonzero(~mask).astype(np.int64)
    return found


@dataclass(frozen=True)
class DeltaColumns:
    """The columns of a table, and how its files name them."""

    file: TableFile
    partitions: tuple[str, ...]
    mapped: bool
    """Whether files name columns otherwise: then it is not told whose the bounds are."""

    @classmethod
    def of(cls, table: DeltaTable) -> DeltaColumns:
        """Those of a version."""
        schema = pa.schema(table.schema().to_arrow())
        partitions = tuple(table.metadata().partition_columns)
        mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        if mode == "none":
            return cls(TableFile(schema), partitions, False)
        fields, names, ids = [], [], []
        for told, column in zip(table.schema().fields, schema, strict=True):
            fields.append(_without_renamed_parts(column, told.type))
            names.append((column.name, str(told.metadata.get(_PHYSICAL, column.name))))
            if _ID in told.metadata:
                ids.append((column.name, int(told.metadata[_ID])))
        by_id = tuple(ids) if mode == "id" else ()
        return cls(TableFile(pa.schema(fields), names=tuple(names), ids=by_id), partitions, True)

    def constants(self, batch: pa.RecordBatch, at: int) -> dict[str, pa.Scalar]:
        """The values of the columns that the table is partitioned by, of one file of its log."""
        names, found = dict(self.file.names), {}
        for name in self.partitions:
            told = next(
                one for one in (f"partition.{name}", f"partition.{names.get(name)}") if one in batch.schema.names
            )
            found[name] = batch.column(told)[at].cast(self.file.schema.field(name).type)
        return found

    def bounds(self, batch: pa.RecordBatch, at: int, constants: Mapping[str, pa.Scalar]) -> Any:
        """What is known of a column of the file, by its name."""

        def find(name: str) -> Bounds | None:
            rows = batch.column("num_records")[at].as_py()
            if name in constants:
                value = _compared(constants[name])
                return Bounds(value, value, 0, rows, exact=True) if value.is_valid else Bounds(nulls=rows, rows=rows)
            if self.mapped:
                return None
            least, most, nulls = (_told(batch, f"{what}.{name}", at) for what in ("min", "max", "null_count"))
            least, most = _outer(least, most)
            return Bounds(least, most, None if nulls is None else nulls.as_py(), rows)

        return find


def _told(batch: pa.RecordBatch, name: str, at: int) -> Any:
    if name not in batch.schema.names:
        return None
    value = batch.column(name)[at]
    return value if value.is_valid else None


def _outer(least: Any, most: Any) -> tuple[Any, Any]:
    """Bounds that hold although the log writes them as JSON: times in milliseconds, decimals as floats."""
    if least is None or most is None or pa.types.is_decimal(least.type):
        return None, None
    if pa.types.is_timestamp(most.type):
        return least, pa.scalar(most.as_py() + timedelta(milliseconds=1), most.type)
    return _compared(least), _compared(most)


def _compared(value: pa.Scalar) -> pa.Scalar:
    """The value as conditions compare it."""
    if pa.types.is_floating(value.type):
        return value.cast(pa.float64())
    return value.cast(pa.string()) if pa.types.is_large_string(value.type) else value


def _without_renamed_parts(column: pa.Field, told: Any) -> pa.Field:
    """The column; marked as one that cannot be read where the fields within it have other names in the files."""
    if not any(_parts(told)):
        return column
    why = b"of structs whose fields have other names in the table's files (column mapping), which is not read"
    return column.with_metadata({UNREADABLE: why})


def _parts(told: Any) -> Iterable[bool]:
    """For each field within a type whether it has another name in files."""
    for inner in getattr(told, "fields", ()):
        yield inner.metadata.get(_PHYSICAL, inner.name) != inner.name
        yield from _parts(inner.type)
    for part in ("element_type", "key_type", "value_type"):
        if hasattr(told, part):
            yield from _parts(getattr(told, part))
