"""Brings the shards' parts of a block together; no Beam.

part of shard 0: bytes of TENSOR@shard0, what passes, kept columns --+
                                                                     +-> join -> micro-batch, rows that failed
part of shard 1: bytes of TENSOR@shard1 -----------------------------+
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.models.running.boundary import SAME, Boundary
from beamsplit.models.scoring.scorer import Array
from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.infer.shard_step import ShardResult, from_bytes


class LostPartError(RuntimeError):
    """Parts of a block are missing or are not of the same rows; the job must not go on without them."""


class Failure(NamedTuple):
    """A row that failed on a shard."""

    row: int
    """Position in the carried columns."""

    shard: int
    reason: str


class Joined(NamedTuple):
    """A block whose parts have met."""

    block: pa.RecordBatch | None
    """The micro-batch for the whole step behind, without the rows that failed; None where all did."""

    carried: pa.RecordBatch
    """The carried columns of all rows, for the origin of those that failed."""

    failures: list[Failure]


@dataclass(frozen=True)
class ShardJoin:
    """Brings the parts of a block together."""

    step: int
    """Position of the sharded step among all steps of the model, from 0."""

    shards: int
    before: Boundary
    """What the whole step behind takes."""

    def join(self, parts: Iterable[ShardResult]) -> Joined:
        """One block of the shards' parts, in whatever order and however often they come.

        Raises:
            LostPartError: a shard's part is missing, or parts are of unlike rows.
        """
        first: dict[int, ShardResult] = {}
        for part in parts:
            first.setdefault(part.shard, part)
        if len(first) < self.shards:
            raise lost_parts(self, first)
        carried = from_bytes(first[0].carried)
        failed: dict[int, Failure] = {}
        for shard in range(self.shards):
            for row, reason in first[shard].failures:
                failed.setdefault(row, Failure(row, shard, reason))
        if len(failed) < carried.num_rows and not self.before.sliceable and failed:
            one = next(iter(failed.values()))
            together = f"{one.reason} (a row beside it, kept together by the tensor {self.before.whole[0]!r})"
            for row in range(carried.num_rows):
                failed.setdefault(row, Failure(row, one.shard, together))
        failures = [failed[row] for row in sorted(failed)]
        if len(failed) == carried.num_rows:
            return Joined(None, carried, failures)
        block = self._block([from_bytes(first[shard].tensors) for shard in range(self.shards)], carried)
        if failures:
            block = self._without(block, np.delete(np.arange(block.num_rows), list(failed)))
        return Joined(block, carried, failures)

    def _block(self, parts: Sequence[pa.RecordBatch], carried: pa.RecordBatch) -> pa.RecordBatch:
        rows = carried.column(ORIGIN_ROW)
        for shard, part in enumerate(parts):
            if not part.column(ORIGIN_ROW).equals(rows):
                raise LostPartError(f"step {self.step}: shard {shard} gave its partial result for other rows")
        columns = {name: part.column(name) for part in parts for name in part.schema.names if name != ORIGIN_ROW}
        columns |= {name: carried.column(name) for name in carried.schema.names}
        schema = self.before.schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _without(self, block: pa.RecordBatch, good: Array) -> pa.RecordBatch:
        values, rows = self.before.unpack(block), block.num_rows
        kept = {
            layout.name: values[layout.name]
            if layout.kind == SAME
            else layout.join(layout.split(values[layout.name], rows)[good])
            for layout in self.before.layouts
        }
        return self.before.pack(kept, self.before.carried_of(block).take(pa.array(good)))


def lost_parts(join: ShardJoin, seen: Collection[int], why: str = "") -> LostPartError:
    """The error of a block of which only the parts of some shards are there.

    Args:
        join: where they were to meet.
        seen: shards whose parts have come.
        why: the others are not waited for.
    """
    lost = ", ".join(str(shard) for shard in range(join.shards) if shard not in seen)
    told = f"step {join.step}: of a block's {join.shards} partial results, that of shard {lost} is lost"
    return LostPartError(f"{told}: {why}" if why else told)
