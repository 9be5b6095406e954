"""A split model over workers of their own: one step a stage, which passes micro-batches on as blocks.

    blocks -> [stage 0] -> Reshuffle -> [stage 1] -> Reshuffle -> [stage 2] -> blocks of kept columns and outputs
                  |                         |                         |
                  +-------------------------+-------------------------+----> rows that failed, with their origin

Each stage has an environment of its own, so that a runner gives it processes that hold only its weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms import block_coder as _block_coder  # registers the coder of blocks  # noqa: F401
from beamsplit.transforms.apply import FAILED, Failures, row_error
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.stage_step import StageFailure, StageStep
from beamsplit.transforms.infer.step import NAMESPACE
from beamsplit.transforms.worker import this_worker


class RunStage(beam.DoFn):
    """One stage; rows that fail leave by the output `FAILED`."""

    def __init__(self, step: StageStep, count_done: bool, where: str | None = None) -> None:
        self._step, self._count_done = step, count_done
        stage = step.stage
        self._where = f"infer: stage {stage}" if where is None else where
        self._usec = Metrics.counter("beamsplit", "infer_usec")
        self._busy = Metrics.counter("beamsplit", f"stage_{stage}_busy_usec")
        self._offered = Metrics.counter("beamsplit", f"stage_{stage}_offered_usec")
        self._runs = Metrics.counter("beamsplit", f"stage_{stage}_runs")
        self._rows = Metrics.counter("beamsplit", f"stage_{stage}_rows")
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
        """Load the stage's model before the first block."""
        if self._step.file is not None:
            self._step.loaded()

    def start_bundle(self) -> None:
        """Note the time, of which the busy part is a share."""
        self._started = time.perf_counter()

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        """Blocks for the next stage, and the errors of rows that failed."""
        self._tell_of_loading()
        started = time.perf_counter()
        for made in self._step.run(block):
            seconds = time.perf_counter() - started
            self._count(made, seconds)
            if isinstance(made, StageFailure):
                error = self._error(block, made)
                self._failures.count([error])
                yield beam.pvalue.TaggedOutput(FAILED, error)
            else:
                yield made
            started = time.perf_counter()

    def _error(self, block: pa.RecordBatch, failure: StageFailure) -> RowError:
        return row_error(block, failure.row, self._where if failure.ran else "infer", failure.reason)

    def finish_bundle(self) -> None:
        """Tell how long the bundle took."""
        self._offered.inc(round((time.perf_counter() - self._started) * 1e6))

    def _count(self, made: pa.RecordBatch | StageFailure, seconds: float) -> None:
        usec = round(seconds * 1e6)
        self._usec.inc(usec)
        self._busy.inc(usec)
        if isinstance(made, StageFailure):
            return
        rows = made.num_rows
        self._runs.inc()
        self._rows.inc(rows)
        self._latency.update(usec)
        self._batch_size.update(rows)
        if self._step.after is None:
            self._inferences.inc(rows)
        done = rows if self._count_done else 0
        if done:
            self._done.inc(done)
        job_dir = self._step.job_dir
        if job_dir and done and os.path.isdir(job_dir):
            this_worker(job_dir).add(done, 0)

    def _tell_of_loading(self) -> None:
        # Beam drops what is told to a metric in setup: only a bundle has metrics.
        if not self._told and self._step.file is not None:
            self._told = True
            session = self._step.loaded()
            self._loading.update(round(session.load_seconds * 1000))
            self._bytes.update(session.model_bytes)


class RunStages(beam.PTransform):
    """PCollection of blocks -> (blocks of kept columns and outputs, PCollection of RowError).

    Args:
        steps: the stages, in order.
        count_done: whether rows that come out count as scored.
    """

    def __init__(self, steps: Sequence[StageStep], count_done: bool = False) -> None:
        super().__init__()
        self._steps, self._count_done = steps, count_done

    def expand(self, blocks: PCollection) -> tuple[PCollection, PCollection]:
        """Wire: a ParDo a stage, each with an environment of its own, and a Reshuffle before all but the first."""
        failed = []
        for step in self._steps:
            if step.before is not None:
                blocks |= f"Reshuffle {step.stage}" >> beam.Reshuffle()
            dofn = RunStage(step, self._count_done and step.after is None)
            pardo = beam.ParDo(dofn).with_output_types(pa.RecordBatch)
            pardo = pardo.with_resource_hints(min_ram=stage_worker(step))
            made = blocks | f"Stage {step.stage}" >> pardo.with_outputs(FAILED, main="blocks")
            made[FAILED].element_type = RowError
            failed.append(made[FAILED])
            blocks = made.blocks
        return blocks, tuple(failed) | "Failed" >> beam.Flatten()


WORKER_BYTES = 512 << 20
"""Memory that a worker process needs beside a model's weights: Python, Beam, blocks."""


def stage_memory(weight_bytes: int) -> int:
    """Bytes that a stage's worker should have: its weights, as many again while they load, and what it needs anyway."""
    return WORKER_BYTES + 2 * weight_bytes


def stage_worker(step: StageStep) -> str:
    """The memory that the workers of a stage ask for, as a resource hint.

    Unlike hints make unlike environments, also for stages whose weights are of one size.
    """
    return f"{stage_memory(step.weight_bytes) + step.stage}B"
