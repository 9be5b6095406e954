"""The coder of blocks: importing this module makes it Beam's coder for every record batch."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa


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
