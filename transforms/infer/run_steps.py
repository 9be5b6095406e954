"""A model in parts over workers of their own: whole steps and sharded ones, each in its stage.

    stages  blocks -> [step 0] -> Reshuffle -> [step 1] -> Reshuffle -> [step 2] -> blocks of kept columns and outputs
                          |                        |                        |
                          +------------------------+------------------------+----> rows that failed, with their origin

    shards  blocks -> [step 0] -+-> [step 1, shard 0] -+-> meet -> join -> [step 2] -+-> ...
                                +-> [step 1, shard 1] -+

Each stage has an environment of its own, and in it each shard and the whole steps have, so that a runner gives them
processes that hold only their weights. Where parts meet, files wait for all blocks; of a stream each block goes on when
it is complete. Between stages a micro-batch goes on by a Reshuffle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms import block_coder as _block_coder  # registers the coder of blocks  # noqa: F401
from beamsplit.transforms.apply import FAILED, Failures, row_error
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.gather import PATIENCE_SECONDS, MeetParts
from beamsplit.transforms.infer.join import ShardJoin
from beamsplit.transforms.infer.model_steps import ModelSteps, ShardedStep
from beamsplit.transforms.infer.shard_step import ShardResult, ShardStep, block_id
from beamsplit.transforms.infer.step import NAMESPACE
from beamsplit.transforms.infer.whole_step import StepFailure, WholeStep
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint
from beamsplit.transforms.telemetry.recorder import loading_model, recording
from beamsplit.transforms.telemetry.serve_metrics import ServeMetrics
from beamsplit.transforms.worker import these_steps, this_worker


class _RunWhole(beam.DoFn):
    """A whole step; rows that fail leave by the output `FAILED`."""

    def __init__(self, step: WholeStep, count_done: bool, where: str, at: int) -> None:
        self._step, self._count_done, self._where, self._at = step, count_done, where, at
        number = step.number
        self._usec = Metrics.counter("beamsplit", "infer_usec")
        self._busy = Metrics.counter("beamsplit", f"stage_{number}_busy_usec")
        self._offered = Metrics.counter("beamsplit", f"stage_{number}_offered_usec")
        self._runs = Metrics.counter("beamsplit", f"stage_{number}_runs")
        self._rows = Metrics.counter("beamsplit", f"stage_{number}_rows")
        self._failures = Failures(step.job_dir)
        self._done = Metrics.counter("beamsplit", "rows_scored")
        self._inferences = Metrics.counter(NAMESPACE, "num_inferences")
        self._latency = Metrics.distribution(NAMESPACE, "inference_batch_latency_micro_secs")
        self._batch_size = Metrics.distribution(NAMESPACE, "inference_request_batch_size")
        self._loading = Metrics.distribution(NAMESPACE, "load_model_latency_milli_secs")
        self._bytes = Metrics.distribution(NAMESPACE, "model_byte_size")
        self._told = False
        self._started = 0.0

    def setup(self) -> None:
        """Load the step's model before the first block."""
        if self._step.file is not None:
            with loading_model():
                self._step.loaded()

    def start_bundle(self) -> None:
        """Note the time, of which the busy part is a share."""
        self._started = time.perf_counter()

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        """Blocks for the next step, and the errors of rows that failed."""
        self._tell_of_loading()
        started = time.perf_counter()
        for made in self._step.run(block):
            seconds = time.perf_counter() - started
            self._count(made, seconds)
            if isinstance(made, StepFailure):
                error = self._error(block, made)
                self._failures.count([error])
                yield beam.pvalue.TaggedOutput(FAILED, error)
            else:
                yield made
            started = time.perf_counter()

    def _error(self, block: pa.RecordBatch, failure: StepFailure) -> RowError:
        return row_error(block, failure.row, self._where if failure.ran else "infer", failure.reason)

    def finish_bundle(self) -> None:
        """Tell how long the bundle took."""
        seconds = time.perf_counter() - self._started
        self._offered.inc(round(seconds * 1e6))
        if (recorder := recording()) is not None:
            recorder.count("beamsplit_stage_offered_seconds", seconds, f"stage {self._step.number}")

    def _count(self, made: pa.RecordBatch | StepFailure, seconds: float) -> None:
        usec = round(seconds * 1e6)
        self._usec.inc(usec)
        self._busy.inc(usec)
        if (recorder := recording()) is not None:
            recorder.count("beamsplit_stage_busy_seconds", seconds, f"stage {self._step.number}")
        if isinstance(made, StepFailure):
            return
        rows = made.num_rows
        self._runs.inc()
        self._rows.inc(rows)
        self._latency.update(usec)
        self._batch_size.update(rows)
        if (recorder := recording()) is not None:
            part = f"stage {self._step.number}"
            recorder.count("beamsplit_rows", rows, part, recorder.model_version)
            recorder.observe("beamsplit_batch_rows", rows, part)
            recorder.observe("beamsplit_run_seconds", seconds, part)
        if self._step.after is None:
            self._inferences.inc(rows)
        done = rows if self._count_done else 0
        if done:
            self._done.inc(done)
        job_dir = self._step.job_dir
        if job_dir and os.path.isdir(job_dir):
            these_steps(job_dir).add(self._at, rows)
            if done:
                this_worker(job_dir).add(done, 0)

    def _tell_of_loading(self) -> None:
        # Beam drops what is told to a metric in setup: only a bundle has metrics.
        if not self._told and self._step.file is not None:
            self._told = True
            session = self._step.loaded()
            self._loading.update(round(session.load_seconds * 1000))
            self._bytes.update(session.model_bytes)
            if (recorder := recording()) is not None:
                recorder.tell_of_model(session.load_seconds, session.model_bytes)


class _RunShard(beam.DoFn):
    def __init__(self, step: ShardStep, first: bool, at: int) -> None:
        self._step, self._first, self._at = step, first, at
        self._rows = Metrics.counter("beamsplit", f"shard_{step.shard}_rows")
        self._busy = Metrics.counter("beamsplit", f"shard_{step.shard}_busy_usec")
        self._usec = Metrics.counter("beamsplit", "infer_usec")

    def setup(self) -> None:
        with loading_model():
            self._step.loaded()

    def process(self, block: pa.RecordBatch) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
        started = time.perf_counter()
        part = self._step.run(block)
        seconds = time.perf_counter() - started
        usec = round(seconds * 1e6)
        if (recorder := recording()) is not None:
            shard = f"shard {self._step.shard}"
            recorder.count("beamsplit_stage_busy_seconds", seconds, shard)
            recorder.observe("beamsplit_batch_rows", block.num_rows, shard)
            recorder.observe("beamsplit_run_seconds", seconds, shard)
        self._busy.inc(usec)
        self._usec.inc(usec)
        if self._first:
            self._rows.inc(block.num_rows)
        job_dir = self._step.job_dir
        if job_dir and self._step.shard == 0 and os.path.isdir(job_dir):
            these_steps(job_dir).add(self._at, block.num_rows)
        yield block_id(block), tuple(part)


class _Join(beam.DoFn):
    def __init__(self, join: ShardJoin, job_dir: str | None, where: str) -> None:
        self._join, self._where, self._failures = join, where, Failures(job_dir)
        self._joins = Metrics.counter("beamsplit", "shard_joins")

    def process(self, met: tuple[bytes, Iterable[tuple[Any, ...]]]) -> Iterator[Any]:
        joined = self._join.join(ShardResult(*part) for part in met[1])
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


class RunSteps(beam.PTransform):
    """PCollection of blocks -> (blocks of kept columns and outputs, PCollection of RowError, ...).

    Rows that failed are one PCollection, or one for each step, made by the workers of `failing_workers`.

    Args:
        steps: of the model.
        count_done: whether rows that come out count as scored.
        patience: seconds until a part of a stream's block counts as lost, see `MeetParts`.
        failed_by_step: keep apart what fails in each step.
        metrics: where each worker shows its metrics.
    """

    def __init__(
        self,
        steps: ModelSteps,
        count_done: bool = False,
        patience: float = PATIENCE_SECONDS,
        failed_by_step: bool = False,
        metrics: MetricsEndpoint | None = None,
    ) -> None:
        super().__init__()
        self._metrics = metrics
        self._steps, self._count_done, self._patience = steps, count_done, patience
        self._failed_by_step = failed_by_step

    def expand(self, blocks: PCollection) -> tuple[PCollection, ...]:
        """Wire: a ParDo a whole step; a ParDo a shard, where they meet and a join for a sharded one."""
        memory, stages = worker_memory(self._steps), self._steps.stages
        failed = []
        first = next((at for at, step in enumerate(self._steps.steps) if isinstance(step, ShardedStep)), 0)
        for at, step in enumerate(self._steps.steps):
            stage, where = stages[at], self._steps.where(at)
            if isinstance(step, ShardedStep):
                parts = [
                    self._seen(blocks, f"Step {at}, shard {one.shard}", memory[stage, one.shard])
                    | f"Step {at}, shard {one.shard}"
                    >> beam.ParDo(_RunShard(one, at == first, at))
                    .with_output_types(tuple[bytes, Any])
                    .with_resource_hints(min_ram=memory[stage, one.shard])
                    for one in step.shards
                ]
                meet = MeetParts(step.join, memory[stage, None], self._patience)
                source = tuple(parts) | f"Parts {at}" >> beam.Flatten() | f"Meet {at}" >> meet
                pardo = beam.ParDo(_Join(step.join, step.shards[0].job_dir, where))
            else:
                done = self._count_done and step.after is None
                pardo, source = beam.ParDo(_RunWhole(step, done, where, at)), blocks
                if at and stage != stages[at - 1]:
                    source |= f"Reshuffle {at}" >> beam.Reshuffle()
                source = self._seen(source, f"Step {at}", memory[stage, None])
            pardo = pardo.with_output_types(pa.RecordBatch).with_resource_hints(min_ram=memory[stage, None])
            made = source | f"Step {at}" >> pardo.with_outputs(FAILED, main="blocks")
            made[FAILED].element_type = RowError
            failed.append(made[FAILED])
            blocks = made.blocks
        return (blocks, *failed) if self._failed_by_step else (blocks, tuple(failed) | "Failed" >> beam.Flatten())

    def _seen(self, blocks: PCollection, worker: str, memory: str) -> PCollection:
        """The same, in workers that show their metrics if that is asked for."""
        if self._metrics is None:
            return blocks
        return blocks | f"Metrics of {worker}" >> ServeMetrics(self._metrics).with_resource_hints(min_ram=memory)


def failing_workers(steps: ModelSteps) -> list[str]:
    """The memory that the workers ask for which find the rows that fail in each step (see `worker_memory`)."""
    memory = worker_memory(steps)
    return [memory[stage, None] for stage in steps.stages]


WORKER_BYTES = 512 << 20
"""Memory that a worker process needs beside a model's weights: Python, Beam, blocks."""


def worker_bytes(weight_bytes: int) -> int:
    """Bytes that a worker should have: its weights, as many again while they load, and what it needs anyway."""
    return WORKER_BYTES + 2 * weight_bytes


def worker_memory(steps: ModelSteps) -> dict[tuple[int, int | None], str]:
    """The memory that each kind of worker asks for, as a resource hint: by (stage, shard), None for its whole steps.

    No two are alike, also where weights are of one size: unlike hints make unlike environments.
    """
    taken: set[int] = set()
    asked = {}
    for worker, nbytes in steps.weight_bytes.items():
        least = worker_bytes(nbytes)
        while least in taken:
            least += 1
        taken.add(least)
        asked[worker] = f"{least}B"
    return asked


def writer_memory(steps: ModelSteps) -> str:
    """The memory that workers ask for which only write what the others make: unlike that of each of those."""
    others, least = set(worker_memory(steps).values()), WORKER_BYTES
    while f"{least}B" in others:
        least += 1
    return f"{least}B"
