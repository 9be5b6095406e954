"""Errors, and a pipeline that writes them."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.transforms.failures.row_error import RowError

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def pipeline(workers: int = 1) -> beam.Pipeline:
    flags = ["--direct_running_mode=in_memory", f"--direct_num_workers={workers}"]
    return beam.Pipeline(runner=RUNNER, options=PipelineOptions(flags))


def error(row: int, file: str = "a.parquet", stage: str = "infer", reason: str = "is null") -> RowError:
    return RowError(file, row, stage, reason)
