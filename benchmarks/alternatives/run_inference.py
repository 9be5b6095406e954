"""Beam's own RunInference with its ONNX handler, in the in-process runner."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import PredictionResult, RunInference
from apache_beam.ml.inference.onnx_inference import OnnxModelHandlerNumpy
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.alternatives.common import Job, parse


def to_array(row: dict[str, Any]) -> np.ndarray:
    """A row's columns as the model's input."""
    return np.fromiter(row.values(), np.float32)


def to_row(result: PredictionResult) -> dict[str, float]:
    """A prediction as a row of the output."""
    return {"y": float(np.ravel(result.inference)[0])}


def table(job: Job) -> None:
    """Rows as dicts, as ReadFromParquet gives them, batched by RunInference."""
    handler = OnnxModelHandlerNumpy(str(job.model), min_batch_size=1_000, max_batch_size=4_000)
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromParquet(str(job.source))
            | beam.Map(to_array)
            | RunInference(handler)
            | beam.Map(to_row)
            | beam.io.WriteToParquet(
                str(job.output.with_suffix("")), pa.schema([("y", pa.float32())]), file_name_suffix=".parquet"
            )
        )


if __name__ == "__main__":
    wanted = parse()
    table(wanted)
