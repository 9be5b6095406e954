"""How fast is each worker: the model timed where the workers run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PBegin, PCollection

from beamsplit.transforms.block_coder import BlockCoder
from beamsplit.transforms.infer.step import InferStep

MEASURE_SECONDS = 0.2
"""How long a worker is timed for."""


def measure_capacity(step: InferStep, sample: pa.RecordBatch, seconds: float = MEASURE_SECONDS) -> float:
    """Rows a second of this worker, on the sample, after one warm run."""
    step(sample)
    rows, started = 0, time.perf_counter()
    while True:
        step(sample)
        rows += sample.num_rows
        spent = time.perf_counter() - started
        if spent >= seconds:
            return rows / spent


class _Measure(beam.DoFn):
    def __init__(self, step: InferStep, sample: bytes):
        self._step, self._sample = step, sample

    def process(self, worker: int) -> Iterator[tuple[int, float]]:
        yield worker, measure_capacity(self._step, BlockCoder().decode(self._sample))


class MeasureCapacities(beam.PTransform):
    """-> PCollection of (worker, rows a second), one element a worker, each timed in a bundle of its own."""

    def __init__(self, step: InferStep, sample: pa.RecordBatch, workers: int):
        super().__init__()
        self._step, self._sample, self._workers = step, BlockCoder().encode(sample), workers

    def expand(self, pbegin: PBegin) -> PCollection:
        """Wire: a number for each worker, spread over them."""
        return (
            pbegin
            | "Workers" >> beam.Create(range(self._workers))
            | "Spread" >> beam.Reshuffle()
            | "Time" >> beam.ParDo(_Measure(self._step, self._sample))
        )
