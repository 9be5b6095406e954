"""A row that failed and is in no file, as its own origin: what it holds. No Beam."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_FILE, data_columns, origin_of
from beamsplit.transforms.failures.row_error import RowError

MOST = 1_000
"""Characters of a row that are told."""

MOST_ITEMS = 8
"""Items of a list that are told."""


def describe_row(block: pa.RecordBatch, row: int, names: Sequence[str] = ()) -> str:
    """The row as JSON, the columns of these names or else all; long lists and bytes cut short.

    >>> describe_row(pa.record_batch({"id": [7], "x": [[0.5] * 20]}), 0, ["id"])
    '{"id": 7}'
    """
    names = [name for name in names if name in block.schema.names] or data_columns(block.schema)
    return describe_values({name: block.column(name)[row].as_py() for name in names})


def describe_values(values: Mapping[str, Any]) -> str:
    """A row's values as JSON; long lists and bytes cut short.

    >>> describe_values({"x": list(range(20))})
    '{"x": [0, 1, 2, 3, 4, 5, 6, 7, "…"]}'
    """
    short = {name: _short(value) for name, value in values.items()}
    text = json.dumps(short, ensure_ascii=False, default=str)
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def name_rows(errors: Iterable[RowError], block: pa.RecordBatch, names: Sequence[str]) -> list[RowError]:
    """The errors with the rows that they are of as their origin.

    Args:
        errors: of rows of the block, whose numbers are positions in it.
        block: as it came.
        names: columns that tell which row it is; empty: all do.
    """
    if ORIGIN_FILE in block.schema.names:
        return [RowError(*origin_of(block, error.row), error.stage, error.reason) for error in errors]
    return [error._replace(file=describe_row(block, error.row, names)) for error in errors]


def _short(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value[:64]).decode() + ("…" if len(value) > 64 else "")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value[:MOST_ITEMS]] + ["…"] * (len(value) > MOST_ITEMS)
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    return value
