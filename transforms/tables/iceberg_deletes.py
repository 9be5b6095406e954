"""Rows of an Iceberg table's files that are deleted: by their place (delete files, deletion vectors), or by values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.models.errors import UsageError
from beamsplit.transforms.tables.equality import EqualityDeletes, KeyColumn
from beamsplit.transforms.tables.iceberg_catalog import IcebergName, plain_path
from beamsplit.transforms.write.storage import open_input

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry
    from pyiceberg.table import Table


@dataclass(frozen=True)
class SnapshotFiles:
    """What a snapshot is made of; each entry tells the file, and the number of the commit that brought it."""

    data: tuple[ManifestEntry, ...] = ()
    by_place: tuple[ManifestEntry, ...] = ()
    by_value: tuple[ManifestEntry, ...] = ()


def snapshot_files(table: Table, number: int) -> SnapshotFiles:
    """The files of a snapshot, from its manifests."""
    from pyiceberg.manifest import DataFileContent

    snapshot = table.snapshot_by_id(number)
    assert snapshot is not None, number
    with ThreadPoolExecutor(8) as pool:
        several = pool.map(lambda one: one.fetch_manifest_entry(table.io), snapshot.manifests(table.io))
        entries = [entry for part in several for entry in part]

    def of(content: DataFileContent) -> tuple[ManifestEntry, ...]:
        return tuple(entry for entry in entries if entry.data_file.content == content)

    kinds = (DataFileContent.DATA, DataFileContent.POSITION_DELETES, DataFileContent.EQUALITY_DELETES)
    return SnapshotFiles(*map(of, kinds))


def sequence(entry: ManifestEntry) -> int:
    """The number of the commit that brought the file; 0 in tables of version 1."""
    return int(entry.sequence_number or 0)


def rows_by_place(name: IcebergName, files: SnapshotFiles, option: str) -> dict[str, np.ndarray]:
    """Path of a data file -> numbers of its rows that are marked as deleted, int64 in rising order.

    Raises:
        UsageError: a delete file is neither Parquet nor Puffin.
    """
    since = {plain_path(entry.data_file.file_path): sequence(entry) for entry in files.data}
    found: dict[str, list[np.ndarray]] = {}
    for entry in files.by_place:
        kind = _kind(name, entry.data_file, ("PARQUET", "PUFFIN"), option)
        marked = _positions(entry.data_file) if kind == "PARQUET" else _vector(name, entry.data_file, option)
        for path, rows in marked:
            if sequence(entry) >= since.get(plain_path(path), 1 << 62):
                found.setdefault(plain_path(path), []).append(rows)
    return {path: np.unique(np.concatenate(several)) for path, several in found.items()}


def _kind(name: IcebergName, file: DataFile, known: Sequence[str], option: str) -> str:
    kind = str(getattr(file.file_format, "name", file.file_format)).upper()
    if kind not in known:
        raise UsageError(
            f"{option} {name} has a delete file of {kind.capitalize()}, and Parquet is read: rewrite its data files"
        )
    return kind


def _positions(file: DataFile) -> Iterable[tuple[str, np.ndarray]]:
    with open_input(plain_path(file.file_path)) as opened:
        rows = pq.ParquetFile(opened).read(columns=["file_path", "pos"])
    paths = rows["file_path"].combine_chunks().dictionary_encode()
    codes, numbers = paths.indices.to_numpy(), rows["pos"].to_numpy()
    for at, path in enumerate(paths.dictionary.to_pylist()):
        yield path, numbers[codes == at]


def _vector(name: IcebergName, file: DataFile, option: str) -> Iterable[tuple[str, np.ndarray]]:
    """Those of a Puffin file; one that was replaced by a larger one since is in that one too."""
    from pyiceberg.table.puffin import PuffinFile

    with open_input(plain_path(file.file_path)) as opened:
        puffin = PuffinFile(opened.read())
    for blob in puffin.footer.blobs:
        path = blob.properties.get("referenced-data-file")
        if blob.type != "deletion-vector-v1" or path is None:
            continue
        try:
            yield path, _bits(puffin.get_blob_payload(blob))
        except (ValueError, IndexError) as error:
            raise UsageError(f"{option} {name}: {file.file_path} cannot be read: {error}") from error


def _bits(payload: bytes) -> np.ndarray:
    """The numbers in a `deletion-vector-v1`: length, magic, bitmaps of 32 bits each behind its upper half, checksum.

    https://iceberg.apache.org/puffin-spec/#deletion-vector-v1-blob-type
    """
    import zlib

    from pyroaring import BitMap

    end = 4 + int.from_bytes(payload[:4], "big")
    checked, told = payload[4:end], int.from_bytes(payload[end : end + 4], "big")
    if checked[:4] != b"\xd1\xd3\x39\x64" or zlib.crc32(checked) != told:
        raise ValueError("its deletion vector is damaged")
    rest, rows = checked[12:], [np.empty(0, np.int64)]
    for _ in range(int.from_bytes(checked[4:12], "little")):
        bits = BitMap.deserialize(rest[4:])
        rows.append(np.asarray(bits.to_array(), np.int64) + (int.from_bytes(rest[:4], "little") << 32))
        rest = rest[4 + len(bits.serialize()) :]
    return np.concatenate(rows)


class ByValue:
    """Which files of values a data file's rows are compared with.

    Raises:
        UsageError: a file is no Parquet, or names what is no column of single values.
    """

    def __init__(self, name: IcebergName, table: Table, files: SnapshotFiles, option: str) -> None:
        self._columns: dict[tuple[int, ...], tuple[KeyColumn, ...]] = {}
        self._everywhere: list[tuple[int, tuple[int, ...], str]] = []
        self._within: dict[Any, list[tuple[int, tuple[int, ...], str]]] = {}
        for entry in files.by_value:
            file = entry.data_file
            _kind(name, file, ("PARQUET",), option)
            ids = tuple(sorted(file.equality_ids or ()))
            if ids not in self._columns:
                self._columns[ids] = _key_columns(name, table, ids, option)
            here = self._everywhere
            if not _unpartitioned(table.specs()[file.spec_id]):
                here = self._within.setdefault((file.spec_id, file.partition), [])
            here.append((sequence(entry), ids, plain_path(file.file_path)))

    def of(self, entry: ManifestEntry) -> tuple[EqualityDeletes, ...]:
        """Those that are younger than the file, and of its partition or of all."""
        file, groups = entry.data_file, dict[tuple[int, ...], list[str]]()
        for number, ids, path in [*self._everywhere, *self._within.get((file.spec_id, file.partition), ())]:
            if number > sequence(entry):
                groups.setdefault(ids, []).append(path)
        return tuple(EqualityDeletes(tuple(sorted(paths)), self._columns[ids]) for ids, paths in sorted(groups.items()))


def _unpartitioned(spec: Any) -> bool:
    from pyiceberg.transforms import VoidTransform

    return all(isinstance(field.transform, VoidTransform) for field in spec.fields)


def _key_columns(name: IcebergName, table: Table, ids: Sequence[int], option: str) -> tuple[KeyColumn, ...]:
    """What the numbers mean: the table's columns of today, or else those that it had last."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow
    from pyiceberg.schema import Schema

    known: Mapping[int, Any] = {
        field.field_id: field
        for schema in [*(table.schemas()[at] for at in sorted(table.schemas())), table.schema()]
        for field in schema.fields
    }
    found = []
    for number in ids:
        field = known.get(number)
        if field is None or not field.field_type.is_primitive or getattr(field, "initial_default", None) is not None:
            raise UsageError(
                f"{option} {name} has rows that are deleted by their values (equality deletes) in what is no column of "
                "single values, or has a default, which is not read: rewrite its data files"
            )
        kind = schema_to_pyarrow(Schema(field), include_field_ids=False).field(0).type
        found.append(KeyColumn(number, field.name, plain_kind(kind)))
    if not ids:
        raise UsageError(f"{option} {name} has rows that are deleted by their values, and tells not of which columns")
    return tuple(found)


def plain_kind(kind: pa.DataType) -> pa.DataType:
    """A type as columns are read in: no large offsets, no extensions."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind
