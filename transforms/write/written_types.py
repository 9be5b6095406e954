"""Which columns a format can hold, told before the job by writing some nulls of their types."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type
from beamsplit.transforms.block import data_columns


def check_written_types(schema: pa.Schema, format: str, what: str) -> None:
    """Raise for a column that cannot be written.

    Args:
        schema: of the blocks that are written.
        format: `parquet`, `csv` or `jsonl`.
        what: is written, for errors: `"--output preds.csv"`.

    Raises:
        UsageError: there is one; names column, type and format, and what to type.
    """
    for name in data_columns(schema):
        kind = schema.field(name).type
        reason = _refusal(kind, format)
        if reason is None:
            continue
        others = [other for other in _PROBES if other != format and _refusal(kind, other) is None]
        better = f", write .{others[0]}" if others else ""
        raise UsageError(
            f"{what}: {format} cannot hold the column {name!r} of type {kind} ({reason}); leave it out of --keep, "
            f"convert it with --prepare module:function{better}"
        )


def _refusal(kind: pa.DataType, format: str) -> str | None:
    """Why not; None if it can be written."""
    if (pa.types.is_primitive(kind) and not pa.types.is_interval(kind)) or pa.types.is_string(kind):
        return None
    if isinstance(kind, pa.FixedShapeTensorType) and column_type(kind) is not None:
        return None
    try:
        _PROBES[format](pa.field("c", kind))
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        return " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return None


def _parquet(field: pa.Field) -> None:
    import pyarrow.parquet as pq

    from beamsplit.transforms.write.parquet_file import parquet_schema

    sink = pa.BufferOutputStream()
    written = parquet_schema(pa.schema([field]))
    pq.write_table(pa.table([pa.nulls(2, written.field(0).type)], schema=written), sink)
    # Arrow writes some types that it does not read.
    pq.read_table(pa.BufferReader(sink.getvalue()))


def _csv(field: pa.Field) -> None:
    from pyarrow import csv

    from beamsplit.transforms.write.text_file import csv_column

    csv.write_csv(pa.table({"c": csv_column(pa.nulls(2, field.type))}), pa.BufferOutputStream())


def _jsonl(field: pa.Field) -> None:
    from beamsplit.transforms.write.json_text import json_text

    json_text(pa.nulls(2, field.type))


_PROBES: dict[str, Callable[[pa.Field], None]] = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv}
