"""Delta tables that the library does not write itself: their logs are written here, their files by pyarrow."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_PYTHON = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def deleted(rows: Iterable[int]) -> dict[str, Any]:
    """A deletion vector within the log: a treemap of Roaring bitmaps behind a magic number, in Z85."""
    from pyroaring import BitMap64

    bits = BitMap64(rows)
    data = struct.pack("<i", 1681511377) + bits.serialize()
    padded = data + b"\0" * (-len(data) % 4)
    text = base64.b85encode(padded).decode().translate(str.maketrans(_PYTHON, _Z85))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": len(bits)}


def field(name: str, kind: Any, physical: str | None = None, number: int | None = None) -> dict[str, Any]:
    """A column of a schema, with another name in the files."""
    mapping = {"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": number}
    return {
        "name": name,
        "type": kind,
        "nullable": True,
        "metadata": {k: v for k, v in mapping.items() if v is not None},
    }


def add(path: str, file: Path, more: Mapping[str, Any] = {}) -> dict[str, Any]:
    """An action that adds a file."""
    stats = json.dumps({"numRecords": pq.read_metadata(file).num_rows if file.exists() else 1})
    told = {
        "path": path,
        "partitionValues": {},
        "size": 1000,
        "modificationTime": 0,
        "dataChange": True,
        "stats": stats,
    }
    return {"add": {**told, **({"size": file.stat().st_size} if file.exists() else {}), **more}}


def write_log(
    folder: Path,
    fields: list[dict[str, Any]],
    adds: list[dict[str, Any]],
    features: Sequence[str] = (),
    **configuration: str,
) -> Path:
    """The first commit of a table."""
    version = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [*features]}
    version["writerFeatures"] = [*features]
    told = {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": {name.replace("__", "."): value for name, value in configuration.items()},
        "createdTime": 0,
    }
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    actions = [{"protocol": version}, {"metaData": told}, *adds]
    (log / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))
    return folder


def write_file(folder: Path, name: str, table: pa.Table) -> Path:
    """A file of a table."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name, row_group_size=4)
    return folder / name
