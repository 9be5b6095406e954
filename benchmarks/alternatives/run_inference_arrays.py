"""Beam's RunInference with beamsplit's handler, rows as arrays of many, in the in-process runner."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquetBatched
from apache_beam.ml.inference.base import PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beamsplit as bs
from benchmarks.alternatives.common import Job, parse

ROWS = 8_192
"""Of an array: what stays in cache, and Beam encodes of the first elements to learn how large they are."""


def to_arrays(table: pa.Table) -> list[np.ndarray]:
    """A table's columns side by side, some rows at a time."""
    parts = (table.slice(first, ROWS) for first in range(0, table.num_rows, ROWS))
    return [np.column_stack([column.to_numpy() for column in part.columns]) for part in parts]


def to_table(result: PredictionResult) -> pa.Table:
    """Predictions as rows of the output."""
    return pa.table({"y": np.ravel(result.inference)})


def table(job: Job) -> None:
    """Row groups as arrays `[rows, columns]`, each an example."""
    handler = bs.OnnxModelHandler(str(job.model), max_batch_size=1)
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | ReadFromParquetBatched(str(job.source))
            | beam.FlatMap(to_arrays)
            | RunInference(handler)
            | beam.Map(to_table)
            | WriteToParquetBatched(
                str(job.output.with_suffix("")), pa.schema([("y", pa.float32())]), file_name_suffix=".parquet"
            )
        )


if __name__ == "__main__":
    table(parse())
