"""What the statistics of a Parquet file tell of the rows of a row group."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.where.bind import is_text
from beamsplit.transforms.where.nodes import Node
from beamsplit.transforms.where.prune import Bounds, may_match


def group_may_match(meta: pq.FileMetaData, group: int, schema: pa.Schema, where: Node | None) -> bool:
    """Whether a row of the row group can be among those for which a bound condition is true.

    Args:
        meta: the file's.
        group: its number.
        schema: the file's, in Arrow's types.
        where: the condition; None keeps all.
    """
    if where is None:
        return True
    columns = meta.row_group(group)
    numbers = {columns.column(at).path_in_schema: at for at in range(columns.num_columns)}

    def find(name: str) -> Bounds | None:
        at = schema.get_field_index(name)
        if at < 0 or name not in numbers:
            return None
        return chunk_bounds(columns.column(numbers[name]), schema.field(at).type)

    return may_match(where, find)


def chunk_bounds(chunk: pq.ColumnChunkMetaData, kind: pa.DataType) -> Bounds | None:
    """The least and the most value of a column in a row group, as the condition compares it; None if nothing is known.

    Args:
        chunk: a column of single values.
        kind: its type.
    """
    told = chunk.statistics
    if told is None:
        return None
    nulls = told.null_count if told.has_null_count else None
    rows = chunk.num_values
    if not told.has_min_max:
        return Bounds(None, None, nulls, rows)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_temporal(kind):
        least, most = (_of_steps(value, kind) for value in (told.min_raw, told.max_raw))
    else:
        least, most = (_compared_as(value, kind) for value in (told.min, told.max))
    return Bounds(least, most, nulls, rows)


def _of_steps(value: Any, kind: pa.DataType) -> Any:
    if not isinstance(value, int) or kind.bit_width not in (32, 64):
        return None
    return pa.scalar(value, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)


def _compared_as(value: Any, kind: pa.DataType) -> Any:
    """The value as conditions compare it: float64 of all floats, string of all texts."""
    try:
        if pa.types.is_floating(kind):
            return pa.scalar(value, pa.float64()) if isinstance(value, float) else None
        return pa.scalar(value, pa.string() if is_text(kind) else kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
