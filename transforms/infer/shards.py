"""A model divided over shards with workers of their own: parts of a block meet again by its id.

    blocks -> [whole 0] -+-> [shard 0] -+-> meet -> join -> [whole 1] -+-> ...
                         +-> [shard 1] -+

All steps of one shard share an environment, and so do the whole steps: a worker holds the weights of one shard, or
those that stay whole. Where parts meet, files wait for all blocks; of a stream each block goes on when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms.apply import FAILED, Failures, row_error
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.gather import PATIENCE_SECONDS, MeetParts
from beamsplit.transforms.infer.shard_step import Part, ShardJoin, ShardStep, ShardSteps, block_id
from beamsplit.transforms.infer.stages import RunStage, stage_memory


class _RunShard(beam.DoFn):
    def __init__(self, step: ShardStep, first: bool = True) -> None:
        self._step, self._first = step, first
        self._rows = Metrics.counter("beamsplit", f"shard_{step.shard}_rows")
        self._busy = Metrics.counter("beamsplit", f"shard_{step.shard}_busy_usec")
        self._usec = Metrics.counter("beamsplit", "infer_usec")

    def setup(self) -> None:
        self._step.loaded()

    def process(self, block: pa.RecordBatch) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
        started = time.perf_counter()
        part = self._step.run(block)
        usec = round((time.perf_counter() - started) * 1e6)
        self._busy.inc(usec)
        self._usec.inc(usec)
        if self._first:
            self._rows.inc(block.num_rows)
        yield block_id(block), tuple(part)


class _Join(beam.DoFn):
    def __init__(self, join: ShardJoin, job_dir: str | None, where: str) -> None:
        self._join, self._where, self._failures = join, where, Failures(job_dir)
        self._joins = Metrics.counter("beamsplit", "shard_joins")

    def process(self, met: tuple[bytes, Iterable[tuple[Any, ...]]]) -> Iterator[Any]:
        joined = self._join.join(Part(*part) for part in met[1])
        self._joins.inc()
        errors = [
            row_error(joined.carried, failure.row, f"{self._where}, shard {failure.shard}", failure.reason)
            for failure in joined.failures
        ]
        if errors:
            self._failures.count(errors)
        for error in errors:
            yield beam.pvalue.TaggedOutput(FAILED, error)
        if joined.block is not None:
            yield joined.block


class RunShards(beam.PTransform):
    """PCollection of blocks -> (blocks of kept columns and outputs, PCollection of RowError).

    Args:
        steps: of the divided model.
        count_done: whether rows that come out count as scored.
        patience: seconds until a part of a stream's block counts as lost, see `MeetParts`.
    """

    def __init__(self, steps: ShardSteps, count_done: bool = False, patience: float = PATIENCE_SECONDS) -> None:
        super().__init__()
        self._steps, self._count_done, self._patience = steps, count_done, patience

    def expand(self, blocks: PCollection) -> tuple[PCollection, PCollection]:
        """Wire: a ParDo a whole step; a ParDo a shard, where they meet and a join for a sharded one."""
        memory = worker_memory(self._steps)
        failed = []
        first = next((number for number, step in enumerate(self._steps.steps) if isinstance(step, tuple)), 0)
        for number, step in enumerate(self._steps.steps):
            depth, where = self._steps.depth(number), self._steps.where(number)
            if isinstance(step, tuple):
                shards, join = step
                parts = [
                    blocks
                    | f"Step {number}, shard {one.shard}"
                    >> beam.ParDo(_RunShard(one, number == first))
                    .with_output_types(tuple[bytes, Any])
                    .with_resource_hints(min_ram=memory[depth, one.shard])
                    for one in shards
                ]
                meet = MeetParts(join, memory[depth, None], self._patience)
                source = tuple(parts) | f"Parts {number}" >> beam.Flatten() | f"Meet {number}" >> meet
                pardo = beam.ParDo(_Join(join, shards[0].job_dir, where))
            else:
                done = self._count_done and step.after is None
                pardo, source = beam.ParDo(RunStage(step, done, where)), blocks
                if number and depth != self._steps.depth(number - 1):
                    source |= f"Reshuffle {number}" >> beam.Reshuffle()
            pardo = pardo.with_output_types(pa.RecordBatch).with_resource_hints(min_ram=memory[depth, None])
            made = source | f"Step {number}" >> pardo.with_outputs(FAILED, main="blocks")
            made[FAILED].element_type = RowError
            failed.append(made[FAILED])
            blocks = made.blocks
        return blocks, tuple(failed) | "Failed" >> beam.Flatten()


def worker_memory(steps: ShardSteps) -> dict[tuple[int, int | None], str]:
    """Memory that each kind of worker asks for, by (stage, shard), or None for the steps that stay whole.

    No two are alike, also where weights are of one size: unlike hints make unlike environments.
    """
    held: dict[tuple[int, int | None], int] = {}
    for number, step in enumerate(steps.steps):
        depth = steps.depth(number)
        held.setdefault((depth, None), 0)
        if not isinstance(step, tuple):
            held[depth, None] += step.weight_bytes
            continue
        for one in step[0]:
            held[depth, one.shard] = held.get((depth, one.shard), 0) + one.weight_bytes
    taken: set[int] = set()
    asked = {}
    for worker, nbytes in held.items():
        least = stage_memory(nbytes)
        while least in taken:
            least += 1
        taken.add(least)
        asked[worker] = f"{least}B"
    return asked
