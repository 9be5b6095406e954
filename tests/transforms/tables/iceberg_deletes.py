"""Delete files of Iceberg tables, which pyiceberg reads and does not write."""

from __future__ import annotations

import json
import os
import struct
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyroaring import BitMap


class _Writer(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class _AddDeletes(_FastAppendFiles):
    def _manifests(self) -> list[ManifestFile]:
        spec, output = self._transaction.table_metadata.spec(), self.new_manifest_output()
        with _Writer(spec, self.schema(), output, self._snapshot_id, self._compression) as writer:
            for file in self._added_data_files:
                entry = {"snapshot_id": self._snapshot_id, "sequence_number": None, "file_sequence_number": None}
                writer.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, data_file=file, **entry))
        return [writer.to_manifest_file(), *self._existing_manifests()]

    def _summary(self, snapshot_properties: Mapping[str, str] = {}) -> Any:
        files, self._added_data_files = self._added_data_files, []
        try:
            return super()._summary(dict(snapshot_properties))
        finally:
            self._added_data_files = files


def add_deletes(
    table: Table, rows: pa.Table, content: DataFileContent, partition: Sequence[Any] = (), ids: list[int] | None = None
) -> None:
    """A snapshot with a delete file of these rows more."""
    path = f"{table.location()}/data/deletes-{uuid.uuid4().hex}.parquet".removeprefix("file://")
    pq.write_table(rows, path)
    told = {"record_count": rows.num_rows, "partition": Record(*partition), "equality_ids": ids}
    _add(table, path, content=content, file_format=FileFormat.PARQUET, **told)


def _add(table: Table, path: str, **told: Any) -> None:
    made = DataFile.from_args(file_path=f"file://{path}", file_size_in_bytes=os.path.getsize(path), **told)
    made.spec_id = table.spec().spec_id
    with table.transaction() as change:
        update = change.update_snapshot().fast_append()
        deletes = _AddDeletes(update._operation, change, table.io)
        deletes.append_data_file(made)
        deletes.commit()


def delete_positions(table: Table, positions: Mapping[str, Sequence[int]], partition: Sequence[Any] = ()) -> None:
    """Mark rows as deleted, by file and number."""
    pairs = [(path, number) for path, numbers in sorted(positions.items()) for number in numbers]
    paths, numbers = ([pair[at] for pair in pairs] for at in (0, 1))
    rows = pa.table({"file_path": paths, "pos": pa.array(numbers, pa.int64())})
    add_deletes(table, rows, DataFileContent.POSITION_DELETES, partition)


def delete_by_vector(table: Table, positions: Mapping[str, Sequence[int]], damaged: bool = False) -> None:
    """Mark rows as deleted by a deletion vector a file, all in one Puffin file.

    https://iceberg.apache.org/puffin-spec/
    """
    content, blobs = b"PFA1", []
    for path, rows in positions.items():
        bits = b"\xd1\xd3\x39\x64" + struct.pack("<qi", 1, 0) + BitMap(rows).serialize()
        payload = struct.pack(">i", len(bits)) + bits + struct.pack(">I", zlib.crc32(bits) ^ damaged)
        told = {"offset": len(content), "length": len(payload), "properties": {"referenced-data-file": path}}
        blobs.append({"type": "deletion-vector-v1", "fields": [], "snapshot-id": -1, "sequence-number": -1, **told})
        content += payload
    footer = json.dumps({"blobs": blobs, "properties": {}}).encode()
    content += b"PFA1" + footer + struct.pack("<i", len(footer)) + bytes(4) + b"PFA1"
    file = Path(f"{table.location()}/data/deletes-{uuid.uuid4().hex}.puffin".removeprefix("file://"))
    file.write_bytes(content)
    rows_marked = sum(map(len, positions.values()))
    given = {"record_count": rows_marked, "partition": Record(), "equality_ids": None}
    _add(table, str(file), content=DataFileContent.POSITION_DELETES, file_format=FileFormat.PUFFIN, **given)
