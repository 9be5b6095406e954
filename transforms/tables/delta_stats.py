"""What Delta's log tells of a file: readers leave out files by it."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow.parquet as pq

from beamsplit.transforms.read.parquet_bounds import chunk_bounds
from beamsplit.transforms.write.storage import open_input

LONGEST_TEXT = 64
"""Characters of texts that are told as bounds; longer ones are not."""


def file_stats(path: str) -> str:
    """What a log tells of a file: its rows, nulls, and bounds of columns whose bounds JSON holds as they are.

    Floats have none: a footer does not tell whether there is a NaN among them, which is greater than all for some.
    """
    with open_input(path) as file:
        meta = pq.read_metadata(file)
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
