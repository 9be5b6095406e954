"""What is looked at in files before a table has them: how many rows they have, and their keys."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.write.storage import open_input


class TableChanged(RuntimeError):
    """Another writer has changed the table so that the commit cannot be made, in one line."""


def footer(path: str) -> pq.FileMetaData:
    """Of a Parquet file, here or at a store."""
    with open_input(path) as file:
        return pq.read_metadata(file)


def read_keys(names: Sequence[str], keys: Sequence[str]) -> pa.Table:
    """Columns of all of these files."""
    found = []
    for path in names:
        with open_input(path) as file:
            found.append(pq.ParquetFile(file).read(columns=list(keys)).replace_schema_metadata(None))
    return pa.concat_tables(found)


def check_keys(names: Sequence[str], keys: Sequence[str]) -> None:
    """Raise unless each row of the files has keys of its own, without nulls.

    Raises:
        TableChanged: two have the same.
    """
    if not names:
        return
    rows = read_keys(names, keys)
    for key in keys:
        if rows[key].null_count:
            raise TableChanged(f"--merge_on {key}: {rows[key].null_count:,} rows have no value in it; give all one")
    if rows.group_by(list(keys)).aggregate([]).num_rows != rows.num_rows:
        raise TableChanged(
            f"--merge_on {','.join(keys)}: several rows have the same; name columns that tell rows apart"
        )
