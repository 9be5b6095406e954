"""The element that flows: an Arrow record batch of rows, with the origin of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

ORIGIN_FILE = "_origin_file"
"""Column with the file, or the `topic/partition`, each row came from (a dictionary: so four bytes a row)."""

ORIGIN_ROW = "_origin_row"
"""Column with the row's number in its file, from 0, or the offset of its message."""

COPY = "_copy"
"""Column with the number of an augmented copy of a row; only there between `augment` and its average."""

KEY = "_key"
"""Column with the key of the message that a row came in (binary; null where it has none)."""

HEADERS = "_headers"
"""Column with that message's headers: name and value pairs in their order; null where it has none."""

TIME = "_time"
"""Column with that message's timestamp in milliseconds since 1970; -1 where the broker keeps none."""

MODEL_VERSION = "_model_version"
"""Column with the version of the model that made a prediction, on its way to the header of a message."""

AS_CAME = "_as_came"
"""Column with the JSON of fields that the model reads and that are kept as they came, a struct of texts."""

EVENT_TIME = "_event_time"
"""Column with the timestamp of the element that a row was, in microseconds since 1970."""

EVENT_TIME_FIELD = pa.field(EVENT_TIME, pa.int64(), nullable=False)

INTERNAL_COLUMNS = frozenset({ORIGIN_FILE, ORIGIN_ROW, COPY, KEY, HEADERS, TIME, MODEL_VERSION, AS_CAME, EVENT_TIME})

ORIGIN_FIELDS = (
    pa.field(ORIGIN_FILE, pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field(ORIGIN_ROW, pa.int64(), nullable=False),
)

MESSAGE_FIELDS = (
    *ORIGIN_FIELDS,
    pa.field(KEY, pa.binary()),
    pa.field(HEADERS, pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("value", pa.binary())]))),
    pa.field(TIME, pa.int64(), nullable=False),
)
"""What rows from a topic carry along: the origin columns, and what their predictions take over."""


class Origin(NamedTuple):
    """Where a row came from: a file and the row's number in it, or `topic/partition` and the message's offset."""

    file: str
    row: int


def with_origin(block: pa.RecordBatch, file: str, first_row: int) -> pa.RecordBatch:
    """Append the origin columns to a block whose rows are consecutive rows of one file."""
    rows = block.num_rows
    origin = origin_columns(np.zeros(rows, dtype=np.int32), [file], np.arange(first_row, first_row + rows))
    return pa.RecordBatch.from_arrays([*block.columns, *origin], schema=with_origin_schema(block.schema))


def origin_columns(files: np.ndarray, names: Sequence[str], rows: np.ndarray) -> list[pa.Array]:
    """The origin columns of rows: for each which of the names its file has, and its number there."""
    return [
        pa.DictionaryArray.from_arrays(
            _integers(files.astype(np.int32, copy=False), pa.int32()), pa.array(names, type=pa.string())
        ),
        _integers(rows.astype(np.int64, copy=False), pa.int64()),
    ]


def _integers(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    # pa.array would do, but asks whether numpy's values are masked, which imports numpy.ma.
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def with_origin_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `with_origin(block, ...)` for blocks of `schema`."""
    return pa.schema([*schema, *ORIGIN_FIELDS])


def origin_of(block: pa.RecordBatch, row: int) -> Origin:
    """The origin of the row at position `row` of the block."""
    return Origin(block.column(ORIGIN_FILE)[row].as_py(), block.column(ORIGIN_ROW)[row].as_py())


def data_columns(schema: pa.Schema) -> list[str]:
    """The column names that belong to the user, in order."""
    return [name for name in schema.names if name not in INTERNAL_COLUMNS]
