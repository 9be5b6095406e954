"""A few rows as bytes, which travel with a step."""

from __future__ import annotations

import io

import pyarrow as pa


def pack_rows(rows: pa.RecordBatch | None, most_rows: int, most_bytes: int = 1 << 20) -> bytes | None:
    """The first rows, one at least, as an Arrow IPC stream; None where there are none.

    >>> unpack_rows(pack_rows(pa.record_batch({"x": [1, 2, 3]}), most_rows=2)).to_pydict()
    {'x': [1, 2]}
    """
    if rows is None or not rows.num_rows:
        return None
    count = max(1, min(most_rows, rows.num_rows, most_bytes * rows.num_rows // max(1, rows.nbytes)))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows.slice(0, count))
    return sink.getvalue()


def unpack_rows(packed: bytes) -> pa.RecordBatch:
    """The rows."""
    with pa.ipc.open_stream(pa.py_buffer(packed)) as reader:
        return reader.read_next_batch()
