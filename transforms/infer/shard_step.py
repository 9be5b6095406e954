"""A shard of a sharded step, as a worker of its own runs it; no Beam.

                  +-> shard 0 -> part: bytes of TENSOR@shard0, what passes, kept columns --+
    micro-batch --+                                                                        +-> join -> micro-batch
                  +-> shard 1 -> part: bytes of TENSOR@shard1 -----------------------------+

Parts meet by the id of their block, which is made of the origins of its rows: the same on every shard and again after a
retry. Each shard's first part counts and the others are repeats, so nothing is added twice, and what is added is added
by the whole step behind, always in the order of the shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.models.running.boundary import Boundary, Layout
from beamsplit.models.running.session import ModelRunError, SessionOptions
from beamsplit.models.scoring.scorer import Array, parts_of
from beamsplit.models.shard.step_models import part_name
from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.infer.loads_once import LoadsOnce
from beamsplit.transforms.infer.running_rows import running

ROWS = pa.schema([pa.field(ORIGIN_ROW, pa.int64(), nullable=False)])
"""What a part carries to tell that it is of the same rows as the others."""


class ShardResult(NamedTuple):
    """What one shard gives for a block."""

    shard: int

    tensors: bytes
    """Arrow IPC of a block of its tensors; empty where no row came through."""

    carried: bytes
    """From shard 0, Arrow IPC of the columns that travel with the rows; empty from the others."""

    failures: tuple[tuple[int, str], ...]
    """Rows, by position, whose numbers mean nothing because the shard failed on them, and why."""


@dataclass(frozen=True)
class ShardStep(LoadsOnce):
    """One shard of one sharded step."""

    step: int
    """Position among all steps of the model, from 0."""

    shard: int
    file: str
    """Its ONNX file."""

    session: SessionOptions
    before: Boundary
    """What comes in."""

    after: Boundary
    """What its part holds."""

    weight_bytes: int = 0
    devices: int = 0
    """GPUs in a machine: workers take them in turn. 0 leaves the session's own device."""

    job_dir: str | None = None
    sha256: str = ""
    """What the file holds, as the plan says; empty where the job made it."""

    def run(self, block: pa.RecordBatch) -> ShardResult:
        """This shard's part of what the step makes of a micro-batch; rows that fail are found by bisecting."""
        running(block, self.job_dir, self.session)
        values = self.before.unpack(block)
        made, failures = self._made(values, block.num_rows)
        carried = to_bytes(self.before.carried_of(block)) if self.shard == 0 else b""
        if made is None:
            return ShardResult(self.shard, b"", carried, tuple(sorted(failures.items())))
        tensors = self.after.pack({**values, **made}, block.select([ORIGIN_ROW]))
        return ShardResult(self.shard, to_bytes(tensors), carried, tuple(sorted(failures.items())))

    def _made(self, values: dict[str, Array], rows: int) -> tuple[dict[str, Array] | None, dict[int, str]]:
        results: list[tuple[int, int, dict[str, Array]]] = []
        failures: dict[int, str] = {}
        session = self.loaded()
        made = [(spec.name, part_name(spec.name, self.shard)) for spec in session.signature.outputs]
        layouts = [layout for layout in self.after.layouts if layout.name in {name for _, name in made}]
        by_row = self.before.sliceable and all(layout.by_row for layout in layouts)
        waiting = [(0, rows)]
        while waiting:
            start, stop = waiting.pop()
            given = values if stop - start == rows else self.before.part(values, rows, start, stop)
            try:
                outputs = session.run({spec.name: given[spec.name] for spec in session.signature.inputs})
            except ModelRunError as error:
                if by_row and stop - start > 1:
                    parts = parts_of(slice(start, stop), error)
                    waiting += [(part.start, part.stop) for part in reversed(parts) if isinstance(part, slice)]
                else:
                    failures |= dict.fromkeys(range(start, stop), f"the model failed: {error}")
                continue
            results.append((start, stop, {name: one for (_, name), one in zip(made, outputs, strict=True)}))
        if not results:
            return None, failures
        if not failures and len(results) == 1:
            return results[0][2], failures
        return {layout.name: _put_together(layout, results, rows) for layout in layouts}, failures


def _put_together(layout: Layout, results: Sequence[tuple[int, int, dict[str, Array]]], rows: int) -> Array:
    """The tensor for all rows, zeros for those that failed."""
    whole: Array | None = None
    for start, stop, made in results:
        piece = layout.split(made[layout.name], stop - start)
        if whole is None:
            whole = np.zeros((rows, *piece.shape[1:]), piece.dtype)
        whole[start:stop] = piece
    assert whole is not None
    return layout.join(whole)


def block_id(block: pa.RecordBatch) -> bytes:
    """The same for the same rows, whoever asks and when; unlike for blocks of other rows.

    Made of the files and row numbers (topic, partition and offsets) that the rows came from, each of which is in one
    block only.
    """
    digest = hashlib.sha256()
    files = block.column(ORIGIN_FILE)
    names = files.unique().to_pylist()
    for name in names if len(names) == 1 else files.to_pylist():
        digest.update(f"{len(name)}:{name}".encode())
    digest.update(np.asarray(block.column(ORIGIN_ROW), np.int64).tobytes())
    return digest.digest()


def to_bytes(block: pa.RecordBatch) -> bytes:
    """Arrow IPC of a block: only its own rows are written."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_batch(block)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> pa.RecordBatch:
    """The block that `to_bytes` wrote; its columns point into the bytes."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_next_batch()
