"""A row that failed and is in no file, as its own origin: what it holds. No Beam."""

from __future__ import annotations

import base64
import datetime  # of the example  # noqa: F401
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

MOST_LEVELS = 8
"""Lists and dicts in one another that are told: a value may hold itself."""


def describe_row(block: pa.RecordBatch | pa.Table, row: int, names: Sequence[str] = ()) -> str:
    """The row as JSON, the columns of these names or else all; long lists and bytes cut short.

    >>> describe_row(pa.record_batch({"id": [7], "x": [[0.5] * 20]}), 0, ["id"])
    '{"id": 7}'
    """
    names = [name for name in names if name in block.schema.names] or data_columns(block.schema)
    return describe_values({name: block.column(block.schema.names.index(name))[row].as_py() for name in names})


def each_row(batch: pa.RecordBatch | pa.Table, names: Sequence[str], reason: str) -> list[RowError]:
    """An error for each row of a batch that cannot be read, by its position."""
    return [RowError(describe_row(batch, row, names), row, "read", reason) for row in range(batch.num_rows)]


def describe_values(values: Mapping[str, Any]) -> str:
    """A row's values as JSON; long lists and bytes cut short.

    >>> describe_values({"x": list(range(20))})
    '{"x": [0, 1, 2, 3, 4, 5, 6, 7, "…"]}'
    """
    short = {name: _short(value, MOST_LEVELS) for name, value in values.items()}
    # Half of a pair of surrogates is no text that travels.
    text = json.dumps(short, ensure_ascii=False).encode(errors="backslashreplace").decode()
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


def _short(value: Any, levels: int) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**64):
        return value
    if isinstance(value, str):
        return value[:MOST]
    if isinstance(value, bytes):
        return base64.b64encode(value[:64]).decode() + ("…" if len(value) > 64 else "")
    if isinstance(value, (list, tuple, Mapping)) and not levels:
        return "…"
    if isinstance(value, (list, tuple)):
        return [_short(one, levels - 1) for one in value[:MOST_ITEMS]] + ["…"] * (len(value) > MOST_ITEMS)
    if isinstance(value, Mapping):
        return {shown(name): _short(one, levels - 1) for name, one in value.items()}
    return shown(value)


def shown(value: Any) -> str:
    """A value as text, whatever it is: what cannot tell itself is told by its type.

    >>> shown((1, 2)), shown(datetime.date(2026, 1, 2))
    ('(1, 2)', '2026-01-02')
    """
    try:
        return str(value)
    except Exception:  # a user's own type may raise anything, and the row has failed for another reason
        return f"<{type(value).__name__}>"
