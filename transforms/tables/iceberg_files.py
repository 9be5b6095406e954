"""Parquet files as data files of an Iceberg table, and the partitions that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import TableProperties
from pyiceberg.transforms import UnknownTransform
from pyiceberg.typedef import Record
from pyiceberg.types import DoubleType, FloatType

from beamsplit.models.errors import UsageError
from beamsplit.transforms.tables.iceberg_catalog import IcebergName
from beamsplit.transforms.tables.partitions import ByTransforms
from beamsplit.transforms.write.storage import open_input


def partitions_of(name: IcebergName, table: Any, option: str) -> ByTransforms | None:
    """By what a table's rows are put together in files; None: not at all.

    Raises:
        UsageError: by what is not offered.
    """
    spec, schema = table.spec(), table.schema()
    sources = []
    for field in spec.fields:
        found = next((one for one in schema.fields if one.field_id == field.source_id), None)
        floats = found is not None and isinstance(found.field_type, (FloatType, DoubleType))
        if found is None or floats or isinstance(field.transform, UnknownTransform):
            raise UsageError(
                f"{option} {name} is partitioned by {field.name}, which is {field.transform} of a float, of a part of "
                "a struct, or not known, and not written; name another table"
            )
        sources.append((found.name, found.field_type))
    return ByTransforms(spec, tuple(sources)) if sources else None


def add_files(
    change: Any,
    io: Any,
    paths: Sequence[str],
    by: ByTransforms | None,
    properties: dict[str, str],
    gone: Sequence[Any] = (),
) -> None:
    """One snapshot that has these files more, and others no more."""
    metadata = change.table_metadata
    if metadata.name_mapping() is None:
        # Our files have no numbers of columns.
        names = metadata.schema().name_mapping.model_dump_json()
        change.set_properties(**{TableProperties.DEFAULT_NAME_MAPPING: names})
    snapshot = change.update_snapshot(snapshot_properties=properties)
    with snapshot.overwrite() if gone else snapshot.fast_append() as made:
        for file in gone:
            made.delete_data_file(file)
        for path in paths:
            made.append_data_file(_data_file(change.table_metadata, io, path, by))


def _data_file(metadata: Any, io: Any, path: str, by: ByTransforms | None) -> Any:
    """What a manifest tells of a file; pyiceberg's own function knows partitions by value only."""
    unpartitioned = {"partition_specs": [UNPARTITIONED_PARTITION_SPEC], "default_spec_id": 0}
    plain = metadata.model_copy(update=unpartitioned)
    file = parquet_file_to_data_file(io, plain, path if "://" in path else f"file://{path}")
    if by is None:
        file.spec_id = metadata.default_spec_id
        return file
    with open_input(path) as whole, pq.ParquetFile(whole) as parquet:
        row = next(parquet.iter_batches(1, columns=[name for name, _ in by.sources]))
    file[3] = Record(*by.values(row))
    assert file.partition == Record(*by.values(row)), "the third field of a data file is its partition"
    file.spec_id = metadata.default_spec_id
    return file
