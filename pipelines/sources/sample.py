"""The first rows of the input, prepared, and the model that they are brought together with."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts
from beamsplit.models.graph.model_file import ModelFile, check_model_file
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.pipelines.job.columns import mostly_numbers, needed_columns, without_values
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.bring_together import PreparedColumns, check_fit, fit_rows, prepared_columns
from beamsplit.pipelines.sources.kept import as_json, as_texts, only_kept
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.read import (
    Derived,
    InferredSchema,
    InputFile,
    NoColumns,
    ReadOptions,
    declared_fields,
    infer_schema,
    partition_codes,
    partition_types,
    read_sample,
    read_spread,
    with_derived,
)
from beamsplit.transforms.read.inputs import paths_with_folders
from beamsplit.transforms.step import Step
from beamsplit.transforms.where import Node, bind_where, columns_of

SAMPLE_ROWS, SAMPLE_PREPARED, SAMPLE_FILES = 4_096, 256, 8
"""Rows read at the start to check binding and axes and to time the model on: of tables that need no preparing, of
others, and of inputs in which each file is a row."""

SAMPLE_BYTES = 4 << 20
"""Most bytes of prepared sample rows: a few images are enough."""


@dataclass(frozen=True, kw_only=True)
class Sample(Bound):
    """Sample rows of files, and the model that takes them."""

    derived: Derived
    """Columns that are none of the files' own."""

    verbatim: tuple[str, ...]
    """Kept columns that nothing reads, see `ReadOptions`."""

    where: Node | None = None
    """The condition that rows are kept by; None too where no file has a column."""


@dataclass(frozen=True)
class SampleOptions:
    """What else is known of a job whose sample is read."""

    few_runs: bool = False
    """Whether the session only plans and checks, and what scores rows is another: weights of a large model then stay in
    their file."""

    to_text: bool = False
    """Whether the output is JSON or CSV, which hold a number as it is written."""

    where: Node | None = None
    """The condition that rows are kept by."""

    planning: PlanningBudget = UNLIMITED
    """What runs of the model may take before the job begins."""


def _naming_the_step(error: UsageError, files: Sequence[InputFile], format: str, prepared: bool) -> UsageError:
    """The error with the step that makes a model's input of whole files, where none was typed."""
    if not FORMATS[format].files or prepared:
        return error
    kinds = {(mimetypes.guess_type(file.path)[0] or "").split("/")[0] for file in files[:SAMPLE_FILES]}
    step = "image:size=224 decodes images" if "image" in kinds else "bytes:begin=512 makes numbers of bytes"
    return UsageError(f"{error}; each file is a row of path and bytes: --prepare {step}")


def open_sample(
    binding: BindingOptions,
    files: Sequence[InputFile],
    format: str,
    session: SessionOptions,
    known: SampleOptions = SampleOptions(),
) -> Sample:
    """Read the first rows, prepare them, and bring them together with the model.

    Args:
        binding: the model, and what feeds it.
        files: of the input.
        format: of the files.
        session: to try the model with.
        known: what else is known of the job.

    Raises:
        UsageError: the rows cannot be read or prepared, or the model does not take them.
    """
    path = localize(binding.model)
    check_model_file(path)
    where = known.where
    if known.few_runs:
        session = for_few_runs(session, path)
    try:
        inferred = infer_schema(files, format)
    except NoColumns as error:
        if FORMATS[format].header and not any(file.header is False for file in files):  # Not even a header.
            raise
        inferred, where = InferredSchema(_columns_of_nothing(binding, path, session, error)), None
    folders = partition_types(paths_with_folders(files))
    of_folders = {name for name in binding.types if name in folders and name not in inferred.schema.names}
    of_fields = declared_fields(
        inferred.schema, {k: v for k, v in binding.types.items() if k not in of_folders}, format
    )
    made_later = {*of_folders, *of_fields}
    inferred = inferred.declared({k: v for k, v in binding.types.items() if k not in made_later}, format)
    steps = prepare_steps(binding)
    compared = () if where is None else columns_of(where)
    asked = [*of_fields, *_asked(binding, inferred.schema, steps, path, session), *compared]
    schema, derived, notes = with_derived(inferred.schema, files, asked)
    schema = pa.schema([f.with_type(binding.types[f.name]) if f.name in made_later else f for f in schema])
    prepare, prepared = prepared_columns(binding, steps, schema, with_origin_schema(schema), FORMATS[format].text)
    if where is not None:
        bind_where(where, schema)
    by_name = [*binding.keep, *(name for names in binding.columns.values() for name in names), *compared]
    inferred.check(derived.of_files(by_name))
    text = FORMATS[format].text
    verbatim: tuple[str, ...] = ()
    if text and binding.keep:
        verbatim = only_kept(binding, get_session(ModelFile(path), session).signature, schema, prepare)
        own = {*binding.types, *compared, *derived.names, *(way[0] for _, way in derived.fields)}
        verbatim = tuple(name for name in verbatim if name not in own)
        objects = FORMATS[format].objects
        schema = as_json(schema, verbatim, text=known.to_text) if objects else as_texts(schema, verbatim)
        prepared = chain_schema(prepare, with_origin_schema(schema))
    codes = (
        partition_codes(paths_with_folders(files)) & {*derived.partitions} & {*binding.keep} - of_folders - {*compared}
    )
    if codes:
        signature = get_session(ModelFile(path), session).signature
        schema = as_texts(schema, codes & {*only_kept(binding, signature, schema, prepare)})
        prepared = chain_schema(prepare, with_origin_schema(schema))
    reading = ReadOptions(schema, verbatim=verbatim, derived=derived, declared=tuple(binding.types))
    raw = _first(files, format, reading, where, _sample_rows(format, bool(prepare)))
    rows = prepare_sample(raw, prepare, binding.prepare)
    facts = facts_of(binding, text)
    facts = replace(facts, ignore=frozenset({*facts.ignore, *derived.names}))
    if text and not prepare:
        named = {name for names in binding.columns.values() for name in names}
        prepared, rows = without_values(prepared, rows, inferred.empty - (set(binding.keep) - named))
    try:
        made = fit_rows(path, session, PreparedColumns(prepare, prepared), rows, facts, known.planning)
        if text and not prepare:
            schema = pa.schema([prepared.field(column.name) for column in schema])
    except UsageError as error:
        # One cell that is no number makes a whole column of a text file one of strings: a row that fails is less.
        kept = set(binding.keep) - {name for names in binding.columns.values() for name in names}
        numbers = schema
        if text and not prepare:
            # Of all the files: which comes first decides nothing.
            spread = raw if len(files) == 1 else read_spread(files, format, reading, SAMPLE_ROWS)
            numbers = mostly_numbers(schema, spread, {*kept, *binding.types})
        if numbers == schema:
            raise _naming_the_step(inferred.explain(error), files, format, bool(prepare)) from error
        schema = numbers
        prepared = with_origin_schema(schema)
        rows = raw = _first(files, format, replace(reading, schema=schema), where, SAMPLE_ROWS)
        made = fit_rows(path, session, PreparedColumns(prepare, prepared), rows, facts, known.planning)
    check_fit(binding, PreparedColumns(prepare, prepared), made)
    for name in made.plan.binding.by_position:
        bound = next(one for one in made.plan.binding.inputs if one.name == name)
        inferred.check_order(bound.columns, f"the model's input {name!r}")
    needed = needed_columns(schema, prepare, [*made.plan.binding.columns, *binding.keep])
    inferred.check(derived.of_files(needed))
    made = replace(made, notes=(*made.notes, *notes))
    return Sample(
        schema=schema,
        prepare=prepare,
        prepared=prepared,
        fit=made,
        raw=raw,
        rows=rows,
        derived=derived,
        verbatim=verbatim,
        where=where,
    )


def _first(
    files: Sequence[InputFile], format: str, reading: ReadOptions, where: Node | None, rows: int
) -> pa.RecordBatch | None:
    """The first rows that are kept, or where none of the first is, the first of all: they have the same columns."""
    if where is not None:
        kept = read_sample(files, format, replace(reading, where=bind_where(where, reading.schema)), rows)
        if kept is not None:
            return kept
    return read_sample(files, format, reading, rows)


def _asked(
    binding: BindingOptions, schema: pa.Schema, steps: Sequence[Step], path: str, session: SessionOptions
) -> list[str]:
    """Names of columns that may be fields of structs."""
    asked = [*binding.keep, *(name for names in binding.columns.values() for name in names), *binding.nulls.columns]
    for step in steps:
        column = getattr(step, "column", None) or ()
        asked += [column] if isinstance(column, str) else column
    if any(pa.types.is_struct(field.type) for field in schema):
        asked += [spec.name for spec in get_session(ModelFile(path), session).signature.inputs]
    return asked


def _columns_of_nothing(binding: BindingOptions, path: str, session: SessionOptions, error: UsageError) -> pa.Schema:
    from beamsplit.pipelines.sources.no_rows import columns_of_nothing

    signature = get_session(ModelFile(path), session).signature
    try:
        return columns_of_nothing(binding, prepare_steps(binding), signature)
    except UsageError as reason:
        raise UsageError(f"{error} ({reason})") from None


def prepare_steps(binding: BindingOptions) -> tuple[Step, ...]:
    """The steps of `--prepare`."""
    if not binding.prepare:
        return ()
    from beamsplit.transforms.prepare import parse_prepare

    return tuple(parse_prepare(spec, binding.keep) for spec in binding.prepare)


def facts_of(binding: BindingOptions, text_source: bool) -> DataFacts:
    """What the user said of the data; a text source declares no widths of numbers."""
    return DataFacts(
        columns=binding.columns,
        sets=binding.set,
        narrow=binding.narrow,
        together=binding.coupled_rows == "accept",
        text_source=text_source,
        ignore=frozenset({*INTERNAL_COLUMNS, *binding.keep}),
        nulls=binding.nulls,
    )


def _sample_rows(format: str, prepared: bool) -> int:
    if FORMATS[format].files:
        return SAMPLE_FILES
    return SAMPLE_PREPARED if prepared else SAMPLE_ROWS


def prepare_sample(
    sample: pa.RecordBatch | None, prepare: Sequence[Step], specs: Sequence[str]
) -> pa.RecordBatch | None:
    """The first rows, prepared; None if there are none (an empty input, or rows that all fail)."""
    for step, spec in zip(prepare, specs, strict=True):
        if sample is None or not sample.num_rows:
            return None
        try:
            sample = step(sample).block
        except UsageError:
            raise
        except Exception as error:  # the user's own step may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(
                f"--prepare {spec} fails on the first rows of the input: {reason}; mend the step"
            ) from error
    if sample is None or not sample.num_rows:
        return None
    keep = max(4, SAMPLE_BYTES // max(1, sample.nbytes // sample.num_rows))
    return sample.slice(0, keep)
