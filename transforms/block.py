"""The element that flows: an Arrow record batch of rows, with the origin of each row and an IPC coder."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

Block = pa.RecordBatch

ORIGIN_FILE = "_origin_file"
"""Column with the file each row came from (a dictionary: one entry a block, so four bytes a row)."""

ORIGIN_ROW = "_origin_row"
"""Column with the row's number in its file, from 0."""

COPY = "_copy"
"""Column with the number of an augmented copy of a row; only there between `augment` and its average."""

INTERNAL_COLUMNS = frozenset({ORIGIN_FILE, ORIGIN_ROW, COPY})

ORIGIN_FIELDS = (
    pa.field(ORIGIN_FILE, pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field(ORIGIN_ROW, pa.int64(), nullable=False),
)


class Origin(NamedTuple):
    """Where a row came from."""

    file: str
    row: int


def with_origin(block: pa.RecordBatch, file: str, first_row: int) -> pa.RecordBatch:
    """Append the origin columns to a block whose rows are consecutive rows of one file."""
    rows = block.num_rows
    files = pa.DictionaryArray.from_arrays(
        _integers(np.zeros(rows, dtype=np.int32), pa.int32()), pa.array([file], type=pa.string())
    )
    numbers = _integers(np.arange(first_row, first_row + rows, dtype=np.int64), pa.int64())
    return pa.RecordBatch.from_arrays([*block.columns, files, numbers], schema=with_origin_schema(block.schema))


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


class BlockCoder(beam.coders.Coder):
    """Arrow IPC: schema and batch in one stream.

    IPC writes only the rows of a slice (pickle would ship its parent's whole buffers), and reading maps the
    columns onto the received bytes without copying them.
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """Write one block as an IPC stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """Read back the block; its columns point into `encoded`."""
        with pa.ipc.open_stream(pa.py_buffer(encoded)) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Bytes of the rows. Beam samples the size of what flows; its default would encode the block for it."""
        return value.nbytes

    def is_deterministic(self) -> bool:
        """Blocks are never keys, and equal blocks may differ in padding."""
        return False

    def to_type_hint(self) -> type:
        """The type this coder is for."""
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, BlockCoder)
