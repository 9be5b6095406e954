"""The end of a job's pipeline: predictions and rows that failed, to files or topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from beamsplit.pipelines.sinks.sink import FoundErrors, Written

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job

FIRST_ERRORS = 5
"""Errors that are shown where they go nowhere."""


def write_outputs(
    blocks: PCollection,
    failed: Sequence[FoundErrors],
    gaps: Sequence[FoundErrors],
    job: Job,
    first_errors: str | None,
    hints: Mapping[str, str],
) -> Written:
    """Wire where predictions and errors go.

    What tells of `gaps` in a topic is among the errors that are written, and no row that failed.
    Predictions get their names last: putting the errors together reads the input once more, which may fail. Those of a
    stream are written by the workers that find them: others would have little else to do.

    Args:
        blocks: of predictions.
        failed: rows that failed, of each step.
        gaps: errors that are no rows.
        job: whose pipeline it is.
        first_errors: where it is told how many failed and why; None where that is told otherwise.
        hints: resource hints of the workers that write.
    """
    import apache_beam as beam

    refused = job.sinks.predictions.send(blocks, job, hints)
    found = [*failed, *([] if refused is None else [FoundErrors(refused, hints)])]
    if not job.source.bounded and job.execution.is_distributed:
        from beamsplit.pipelines.sinks.errors_by_worker import write_errors_by_worker

        write_errors_by_worker([*found, *gaps], job)
        return job.sinks.predictions.write(blocks, job, None)
    errors = tuple(each.errors for each in found) | "Errors" >> beam.Flatten()
    checked = None
    if job.max_failed is not None and job.source.bounded:
        from beamsplit.transforms.failures.summary import CheckFailures

        checked = (blocks, errors) | "Few failed" >> CheckFailures(job.max_failed)
    if first_errors is not None:
        from beamsplit.transforms.failures.summary import FirstErrors

        # The first are told where they go nowhere else.
        errors | "First errors" >> FirstErrors(0 if job.sinks.errors.name else FIRST_ERRORS, first_errors)
    if gaps:
        errors = (errors, *(each.errors for each in gaps)) | "With gaps" >> beam.Flatten()
    done, written = job.sinks.errors.write(errors, job, checked, hints)
    return [*job.sinks.predictions.write(blocks, job, checked if done is None else done), *written]
