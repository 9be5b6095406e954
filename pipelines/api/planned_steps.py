"""A model brought together with rows of one schema that are in no file: what is done to each block of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.element_rows import ElementRows
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.job.around_model import around_model
from beamsplit.pipelines.job.columns import needed_columns
from beamsplit.pipelines.job.model import plan_model as plan_for_rows
from beamsplit.pipelines.job.plan import user_fields
from beamsplit.pipelines.options.modes import check_stream
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.transforms.fetch.model_schemes import pinned
from beamsplit.transforms.step import Step


@dataclass(frozen=True)
class Place:
    """Where rows are scored."""

    workers: int | None = None
    """Replicas of the model side by side that share this machine; None: one a core."""

    folder: str | None = None
    """For the files of stages and shards that are not saved yet; None where workers are on other machines."""

    text_source: bool = False
    """Whether numbers with fractions have no declared width, as Python's own."""


@dataclass(frozen=True)
class PlannedSteps:
    """What is done to a block of rows of one schema."""

    schema: pa.Schema
    """The columns that are read, in this order, without the origin."""

    steps: tuple[tuple[str, Step], ...]
    """(stage, step): `prepare`, `infer` and `finish`."""

    made: pa.Schema
    """Of what comes out: `keep` columns and outputs, without the origin."""

    divided: Execution
    """How the model is run."""

    notes: tuple[str, ...] = ()
    """Lines for the user: what was changed or found that may surprise."""

    facts: Mapping[str, object] | None = None


def plan_model(options: ScoreOptions, schema: pa.Schema, sample: pa.RecordBatch | None, place: Place) -> PlannedSteps:
    """Check everything and decide what is left open, as a job of files does.

    Args:
        options: from `read_options`.
        schema: of the rows.
        sample: a few rows of that schema; None or empty: rows are made up.
        place: where they are scored.

    Raises:
        UsageError: something cannot work; one line with the fix.
    """
    local = place.folder is not None
    # All workers have the same one, whatever becomes of an alias.
    options = replace(options, binding=replace(options.binding, model=pinned(options.binding.model)))
    parallelism, unfollowed = drop_unsupported_annotations(options.parallelism, local)
    rows = ElementRows(schema, sample, place.workers, place.text_source, timed=parallelism.distributed)
    if options.binding.keep == ("*",):
        options = replace(options, binding=replace(options.binding, keep=rows.columns))
    options = replace(options, parallelism=parallelism)
    binding = options.binding
    folder = place.folder
    if folder is not None and (parallelism.in_parts or parallelism.shards is not None):
        # Stages and shards have the same names whatever they are of, and others are planned side by side.
        folder = tempfile.mkdtemp(dir=folder)
    planned = plan_for_rows(options, rows, folder, local)
    bound, divided = planned.bound, planned.execution
    # The folder is for what is planned; a job's would have notes of what its workers do.
    infer = replace(planned.infer, job_dir=None)
    if options.stream.model_updates:
        check_stream(options)
    around = around_model(infer, options, bound)
    needed = needed_columns(schema, bound.prepare, [*divided.scoring.binding.columns, *binding.keep])
    steps = [("prepare", step) for step in bound.prepare] + [("infer", around.model)]
    steps += [("finish", step) for step in around.finish]
    return PlannedSteps(
        schema=pa.schema([schema.field(name) for name in schema.names if name in needed]),
        steps=tuple(steps),
        made=pa.schema(user_fields(around.schema)),
        divided=divided,
        notes=(*unfollowed, *planned.notes),
    )


def without_metrics(steps: Sequence[tuple[str, Step]]) -> tuple[tuple[str, Step], ...]:
    """The steps where there is no Beam to be told of each run."""
    from beamsplit.transforms.infer.step import InferStep

    return tuple(
        (stage, replace(step, counted=False) if isinstance(step, InferStep) else step) for stage, step in steps
    )


def check_inline(options: ScoreOptions, what: str) -> None:
    """Raise where parts of a model are to have workers of their own, and there are no workers.

    Raises:
        UsageError: with what to leave out.
    """
    if options.parallelism.distributed:
        raise UsageError(f"--placement distributed gives stages and shards workers of their own, and {what} has none")
