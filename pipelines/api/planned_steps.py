"""A model brought together with rows of one schema that are in no file: what is done to each block of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import fit
from beamsplit.models.graph.model_file import check_model_file
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.run_limit import context
from beamsplit.pipelines.api.element_schema import signature_of_model
from beamsplit.pipelines.execution.batch_size import known_batch_size, with_batch_size
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.execution.ways import default_workers, plan_execution
from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.job.audit import with_audit
from beamsplit.pipelines.job.columns import check_depths, check_keep, check_names, check_outputs, needed_columns
from beamsplit.pipelines.job.finishing import finish_steps
from beamsplit.pipelines.job.made_up_columns import made_up
from beamsplit.pipelines.job.plan import user_fields
from beamsplit.pipelines.job.versions import updating_step, version_steps
from beamsplit.pipelines.options.modes import check_stream
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions
from beamsplit.pipelines.sources.sample import facts_of, prepare_sample, prepare_steps
from beamsplit.transforms.block import EVENT_TIME_FIELD, INTERNAL_COLUMNS, data_columns, with_origin, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.fetch.model_schemes import pinned
from beamsplit.transforms.fill_nulls import check_nulls, fill_nulls
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.running_rows import running
from beamsplit.transforms.kafka.schema import UNKNOWN_SIZE, wanted_fields
from beamsplit.transforms.step import Step

SAMPLE_ROWS = 4_096
"""Most rows that a model is fitted to."""


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
    if options.binding.keep == ("*",):
        options = replace(options, binding=replace(options.binding, keep=tuple(schema.names)))
    # All workers have the same one, whatever becomes of an alias.
    options = replace(options, binding=replace(options.binding, model=pinned(options.binding.model)))
    binding, asked, stream = options.binding, options.workers, options.stream
    path = localize(binding.model)
    check_model_file(path)
    check_names(schema)
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise UsageError(f"the rows have {schema.names.count(twice)} columns {twice!r}; rename all but one of them")
    check_depths(schema, as_text=False)
    parallelism, unfollowed = drop_unsupported_annotations(options.parallelism, local)
    count = place.workers if place.workers is not None else default_workers(parallelism, asked.count)
    workers = count_workers(replace(asked, count=count), local)
    session = for_few_runs(workers.session, path) if parallelism.in_parts else workers.session
    read = with_origin_schema(schema)
    if parallelism.distributed:
        # Rows of several elements are one block, and each is to have its own timestamp again.
        read = read.append(EVENT_TIME_FIELD)
    prepare = fill_nulls(prepare_steps(binding), read, binding.nulls)
    prepared = chain_schema(prepare, read)
    check_keep(binding.keep, prepared)
    rows = _sample(binding, read, sample, prepare, prepared, path)
    running(rows, None, session)
    fitted = fit(path, session, prepared, rows, facts_of(binding, place.text_source))
    context.block = None
    check_nulls(binding.nulls, prepare, fitted.plan.binding.columns, prepared)
    check_outputs(binding.keep, [column.name for column in fitted.plan.outputs])
    scoring, batch_fact = with_batch_size(fitted, known_batch_size(parallelism, asked.batch_size, fitted))
    request = Request(
        binding.model,
        fitted,
        scoring,
        batch_fact,
        workers,
        prepared,
        binding.keep,
        place.folder,
        local,
        rows_at_once=scoring.batch_size,
        parallelism=parallelism,
        asked=asked,
    )
    divided = plan_execution(request)
    step = divided.infer_step(replace(request, job_dir=None))
    infer = with_audit(asked.audit, step, fitted, divided.is_distributed, None)
    model: Step = infer
    if stream.model_updates:
        check_stream(options)
        model = updating_step(stream.model_updates, binding.model_version, infer, prepared, fitted.sample)
    after = model.output_schema(prepared)
    finish = finish_steps(binding, after, fitted)
    if not stream.model_updates:
        finish += version_steps(binding.model_version, fitted.plan.model.path, chain_schema(finish, after))
    made = chain_schema(finish, after)
    needed = needed_columns(schema, prepare, [*divided.scoring.binding.columns, *binding.keep])
    steps = [("prepare", step) for step in prepare] + [("infer", model)] + [("finish", step) for step in finish]
    return PlannedSteps(
        schema=pa.schema([schema.field(name) for name in schema.names if name in needed]),
        steps=tuple(steps),
        made=pa.schema(user_fields(made)),
        divided=divided,
        notes=(*unfollowed, *fitted.notes, *divided.notes),
    )


def without_metrics(steps: Sequence[tuple[str, Step]]) -> tuple[tuple[str, Step], ...]:
    """The steps where there is no Beam to be told of each run."""
    from beamsplit.transforms.infer.step import InferStep

    return tuple(
        (stage, replace(step, counted=False) if isinstance(step, InferStep) else step) for stage, step in steps
    )


def _sample(
    binding: BindingOptions,
    read: pa.Schema,
    sample: pa.RecordBatch | None,
    prepare: Sequence[Step],
    prepared: pa.Schema,
    path: str,
) -> pa.RecordBatch:
    """Rows that reach the model: those given, or else made up."""
    if sample is not None and sample.num_rows:
        block = with_origin(sample.select(data_columns(read)).slice(0, SAMPLE_ROWS), "", 0)
        rows = prepare_sample(_with_missing(block, read), prepare, binding.prepare)
        if rows is not None:
            return rows
    # Rows that a step makes cannot be made up before it: no random bytes are an image.
    made = pa.schema([field for field in prepared if field.name not in INTERNAL_COLUMNS])
    block = with_origin(made_up(made, _sizes(binding, path)), "", 0)
    return _with_missing(block, prepared)


def _with_missing(block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The block with 0 in columns of ours that it lacks: numbers of copies, times."""
    missing = [field.name for field in schema if field.name not in block.schema.names]
    if not missing:
        return block
    columns = [
        block.column(field.name) if field.name not in missing else pa.array([0] * block.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _sizes(binding: BindingOptions, path: str) -> dict[str, tuple[int, ...]]:
    """Column -> the sizes of its rows, where the model tells."""
    signature = signature_of_model(path, frozenset(binding.set))
    fields = wanted_fields(signature, binding.columns, binding.set)
    return {
        name: tuple(size if isinstance(size, int) else UNKNOWN_SIZE for size in spec.shape)
        for name, spec in fields.items()
        if spec.shape is not None
    }


def check_inline(options: ScoreOptions, what: str) -> None:
    """Raise where parts of a model are to have workers of their own, and there are no workers.

    Raises:
        UsageError: with what to leave out.
    """
    if options.parallelism.distributed:
        raise UsageError(f"--placement distributed gives stages and shards workers of their own, and {what} has none")
