"""Elements through a model whose stages or shards have workers of their own."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamsplit.pipelines.api.planned_steps import PlannedSteps
from beamsplit.pipelines.running.wiring import run_steps, side_workers
from beamsplit.transforms.elements.blocks import FromBlocks, ToBlocks, without_number
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint


def score_distributed(
    elements: PCollection[Any],
    steps: PlannedSteps,
    most_rows: int,
    linger_seconds: float | None,
    element_type: Any,
    metrics: MetricsEndpoint | None = None,
) -> tuple[PCollection[Any], PCollection[Any]]:
    """(predictions, errors).

    Args:
        elements: rows or batches.
        steps: planned for their schema.
        most_rows: of a block.
        linger_seconds: longest that a row waits for others; None: for the end of the bundle.
        element_type: of predictions.
        metrics: where the workers of each part show metrics.
    """
    keep = [name for name in steps.made.names if name in steps.schema.names]
    blocks, unread = elements | "To blocks" >> ToBlocks(steps.schema, keep, most_rows, linger_seconds)
    blocks, failed = run_steps(blocks, steps.steps, steps.divided, None, side_workers(steps.divided), metrics)
    predictions = blocks | "From blocks" >> FromBlocks(element_type)
    unscored = tuple(found.errors for found in failed) | "Unscored" >> beam.Flatten()
    told = unscored | "Without numbers" >> beam.Map(without_number).with_output_types(RowError)
    return predictions, (unread, told) | "Errors" >> beam.Flatten()
