"""Blocks pass through; the process that holds them shows its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint, serve
from beamsplit.transforms.telemetry.recorder import recording


class _Serve(beam.DoFn):
    def __init__(self, endpoint: MetricsEndpoint, counted: bool) -> None:
        self._endpoint, self._counted = endpoint, counted

    def setup(self) -> None:
        serve(self._endpoint)

    def process(self, element: Any) -> Iterator[Any]:
        if self._counted and (recorder := recording()) is not None:
            rows = element.num_rows if isinstance(element, (pa.RecordBatch, pa.Table)) else 1
            recorder.count("beamsplit_rows_read", rows)
        yield element


class ServeMetrics(beam.PTransform[Any, Any]):
    """PCollection -> the same; each process that gets some of it serves its metrics before the first element.

    Args:
        endpoint: where.
        counted: whether rows that pass count as read.
    """

    def __init__(self, endpoint: MetricsEndpoint, counted: bool = False) -> None:
        super().__init__()
        self._dofn = _Serve(endpoint, counted)

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        """Wire: one ParDo."""
        return elements | beam.ParDo(self._dofn).with_output_types(elements.element_type)
