"""Steps over a collection of blocks: rows that fail leave by the errors output, with their origin."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms.block import origin_of
from beamsplit.transforms.copies import whole_rows
from beamsplit.transforms.failures.first_failures import note_failures
from beamsplit.transforms.failures.kinds import kind_of, tally
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.read import ReadFailure
from beamsplit.transforms.step import Step
from beamsplit.transforms.telemetry.recorder import recording
from beamsplit.transforms.worker import this_worker

FAILED = "failed"
"""Tag of the output with the rows that a step could not handle, as `RowError`."""


FAILED_IN = "rows_failed_in:"
"""Begins the name of the counter of rows that failed in a stage."""


def apply_step(step: Step, stage: str, block: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RowError]]:
    """Apply a step to one block; the failures know where their rows came from."""
    result = whole_rows(block, step(block))
    errors = []
    for row, reason in result.failures:
        part = result.parts.get(row)
        errors.append(row_error(block, row, f"{stage}: {part}" if part else stage, reason))
    return result.block, errors


def row_error(block: pa.RecordBatch, row: int, stage: str, reason: str) -> RowError:
    """The error of the row at this position of a block, with where the row came from."""
    file, number = origin_of(block, row)
    return RowError(file, number, stage, reason)


class Failures:
    """Counts rows that fail: in Beam's metrics, and in the files of the job's folder on this machine.

    Args:
        job_dir: folder that local workers share; None on a cluster.
        counted: whether `rows_failed` counts them: those that cannot be read are counted by who reads.
    """

    def __init__(self, job_dir: str | None, counted: bool = True):
        self._job_dir = job_dir
        self._failed = Metrics.counter("beamsplit", "rows_failed") if counted else None

    def count(self, errors: Sequence[RowError]) -> None:
        """Take in some more."""
        if self._failed is not None:
            self._failed.inc(len(errors))
        for stage, rows in Counter(error.stage for error in errors).items():
            Metrics.counter("beamsplit", FAILED_IN + stage).inc(rows)
        if (recorder := recording()) is not None:
            recorder.count_errors((error.stage, kind_of(error.reason)) for error in errors)
        if self._job_dir and os.path.isdir(self._job_dir):
            # In this order: who sees that rows failed finds why they did.
            tally(self._job_dir, ((error.stage, error.reason) for error in errors))
            this_worker(self._job_dir).add(0, len(errors))


class CountedStep:
    """A step that counts its time, its failures and, if it is the last, the rows that are done.

    Args: as of `ApplyStep`.
    """

    def __init__(self, step: Step, stage: str, job_dir: str | None = None, count_done: bool = False):
        self._step, self._stage = step, stage
        self._job_dir, self._count_done = job_dir, count_done
        self._usec = Metrics.counter("beamsplit", f"{stage}_usec")
        self._failures = Failures(job_dir)
        self._done = Metrics.counter("beamsplit", "rows_scored")

    def setup(self) -> None:
        """What the step wants done once in a worker."""
        setup = getattr(self._step, "setup", None)
        if setup is not None:
            setup()

    def __call__(self, block: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RowError]]:
        """As `apply_step`."""
        started = time.perf_counter()
        result, errors = apply_step(self._step, self._stage, block)
        seconds = time.perf_counter() - started
        self._usec.inc(round(seconds * 1e6))
        if (recorder := recording()) is not None:
            recorder.observe("beamsplit_block_seconds", seconds, self._stage)
            recorder.count("beamsplit_rows", result.num_rows, self._stage, recorder.model_version)
        if errors:
            self._failures.count(errors)
            if self._job_dir and os.path.isdir(self._job_dir):
                note_failures(self._job_dir, block, errors, result.num_rows, self._stage == "read")
        if self._count_done:
            self._done.inc(result.num_rows)
            if self._job_dir and result.num_rows and os.path.isdir(self._job_dir):
                this_worker(self._job_dir).add(result.num_rows, 0)
        return result, errors


class _Apply(beam.DoFn):
    def __init__(self, step: CountedStep):
        self._step = step

    def setup(self) -> None:
        self._step.setup()

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        result, errors = self._step(block)
        for error in errors:
            yield beam.pvalue.TaggedOutput(FAILED, error)
        if result.num_rows:
            yield result


class ApplyStep(beam.PTransform):
    """PCollection of blocks -> outputs `blocks` (main) and `FAILED` (PCollection of RowError).

    Args:
        step: what to apply to each block.
        stage: `read`, `prepare`, `infer` or `finish`: names the time metric and stands in the errors.
        job_dir: folder that local workers share, for progress.
        count_done: whether rows that come out of this step count as scored.
    """

    def __init__(self, step: Step, stage: str, job_dir: str | None = None, count_done: bool = False):
        super().__init__()
        self._dofn = _Apply(CountedStep(step, stage, job_dir, count_done))

    def expand(self, blocks: PCollection) -> beam.pvalue.DoOutputsTuple:
        """Wire: one ParDo with two outputs."""
        # With the type the blocks' own coder is used, which also judges their size without writing them.
        made = blocks | beam.ParDo(self._dofn).with_output_types(pa.RecordBatch).with_outputs(FAILED, main="blocks")
        made[FAILED].element_type = RowError
        return made


class _AsRowError(beam.DoFn):
    def __init__(self, stage: str, job_dir: str | None):
        self._stage, self._failures = stage, Failures(job_dir, counted=False)

    def process(self, failure: ReadFailure) -> Iterator[RowError]:
        error = RowError(failure.file, failure.row, self._stage, failure.reason)
        self._failures.count([error])
        yield error


class AsRowErrors(beam.PTransform):
    """PCollection of ReadFailure -> PCollection of RowError."""

    def __init__(self, stage: str, job_dir: str | None = None):
        super().__init__()
        self._dofn = _AsRowError(stage, job_dir)

    def expand(self, failures: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return failures | beam.ParDo(self._dofn).with_output_types(RowError)
