"""Steps over a collection of blocks: rows that fail leave by the errors output, with their origin."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from transforms.block import origin_of
from transforms.errors import RowError
from transforms.read import ReadFailure
from transforms.step import Step
from transforms.worker import this_worker

FAILED = "failed"
"""Tag of the output with the rows that a step could not handle, as `RowError`."""


def apply_step(step: Step, stage: str, block: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RowError]]:
    """Apply a step to one block; the failures know where their rows came from."""
    result = step(block)
    errors = []
    for row, reason in result.failures:
        part = result.parts.get(row)
        errors.append(row_error(block, row, f"{stage}: {part}" if part else stage, reason))
    return result.block, errors


def row_error(block: pa.RecordBatch, row: int, stage: str, reason: str) -> RowError:
    """The error of the row at this position of a block, with where the row came from."""
    file, number = origin_of(block, row)
    return RowError(file, number, stage, reason)


class CountedStep:
    """A step that counts its time, its failures and, if it is the last, the rows that are done.

    Args: as of `ApplyStep`.
    """

    def __init__(self, step: Step, stage: str, job_dir: str | None = None, count_done: bool = False):
        self._step, self._stage = step, stage
        self._job_dir, self._count_done = job_dir, count_done
        self._usec = Metrics.counter("beamsplit", f"{stage}_usec")
        self._failed = Metrics.counter("beamsplit", "rows_failed")
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
        self._usec.inc(round((time.perf_counter() - started) * 1e6))
        if errors:
            self._failed.inc(len(errors))
        if self._count_done:
            self._done.inc(result.num_rows)
        if self._job_dir and (self._count_done or errors) and os.path.isdir(self._job_dir):
            this_worker(self._job_dir).add(result.num_rows if self._count_done else 0, len(errors))
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
        self._stage, self._job_dir = stage, job_dir

    def process(self, failure: ReadFailure) -> Iterator[RowError]:
        if self._job_dir and os.path.isdir(self._job_dir):
            this_worker(self._job_dir).add(0, 1)
        yield RowError(failure.file, failure.row, self._stage, failure.reason)


class AsRowErrors(beam.PTransform):
    """PCollection of ReadFailure -> PCollection of RowError."""

    def __init__(self, stage: str, job_dir: str | None = None):
        super().__init__()
        self._dofn = _AsRowError(stage, job_dir)

    def expand(self, failures: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return failures | beam.ParDo(self._dofn).with_output_types(RowError)
