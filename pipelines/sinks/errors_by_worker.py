"""Errors of a stream whose model's parts have workers of their own: each worker writes those that it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamsplit.pipelines.sinks.sink import FoundErrors

if TYPE_CHECKING:
    from beamsplit.pipelines.job.job import Job


def write_errors_by_worker(found: Sequence[FoundErrors], job: Job) -> None:
    """Wire a sink for each kind of worker: one for all would be a step of its own, whose processes do little else."""
    kinds: dict[tuple[tuple[str, str], ...], list[PCollection]] = {}
    for errors, hints in found:
        kinds.setdefault(tuple(sorted(hints.items())), []).append(errors)
    for number, (kind, together) in enumerate(kinds.items()):
        tuple(together) | f"Errors {number}" >> _WriteErrors(job, dict(kind))


class _WriteErrors(beam.PTransform):
    """PCollections of RowError, to where the job's errors go."""

    def __init__(self, job: Job, hints: Mapping[str, str]):
        super().__init__()
        self._job, self._hints = job, hints

    def expand(self, errors: tuple[PCollection, ...]) -> beam.pvalue.PDone:
        """Wire: the job's sink."""
        self._job.sinks.errors.write(errors | "Together" >> beam.Flatten(), self._job, None, self._hints)
        return beam.pvalue.PDone(errors[0].pipeline)
