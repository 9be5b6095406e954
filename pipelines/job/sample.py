"""The first rows of the input, prepared, and the model that they are brought together with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.graph.model_file import ModelFile, check_model_file
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.pipelines.job.columns import check_keep, check_names, mostly_numbers, needed_columns, without_values
from beamsplit.pipelines.job.json_output import json_format
from beamsplit.pipelines.job.kept import as_json, as_texts, only_kept
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.fill_nulls import check_nulls, fill_nulls
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.running_rows import running
from beamsplit.transforms.read import (
    Derived,
    InferredSchema,
    InputFile,
    NoColumns,
    ReadOptions,
    declared_fields,
    format_of,
    infer_schema,
    partition_codes,
    partition_types,
    read_sample,
    read_spread,
    with_derived,
)
from beamsplit.transforms.step import Step

SAMPLE_ROWS, SAMPLE_PREPARED, SAMPLE_FILES = 4_096, 256, 8
"""Rows read at the start to check binding and axes and to time the model on: of tables that need no preparing, of
others, and of inputs in which each file is a row."""

SAMPLE_BYTES = 4 << 20
"""Most bytes of prepared sample rows: a few images are enough."""

TEXT_FORMATS = ("csv", "jsonl")


@dataclass(frozen=True)
class Sample:
    """Sample rows, and the model that takes them."""

    format: str
    """Of the files, one of `transforms.split.FORMATS`."""

    schema: pa.Schema
    """Of the files."""

    derived: Derived
    """Columns that are none of the files' own."""

    verbatim: tuple[str, ...]
    """Kept columns that nothing reads, see `ReadOptions`."""

    prepare: tuple[Step, ...]
    prepared: pa.Schema
    """Of blocks that reach the model."""

    raw: pa.RecordBatch | None
    """The first rows as they are read; None where there are none."""

    rows: pa.RecordBatch | None
    """The same, prepared."""

    made: Fit
    """Model and data brought together."""


def open_sample(
    options: argparse.Namespace, files: Sequence[InputFile], session: SessionOptions, few_runs: bool = False
) -> Sample:
    """Read the first rows, prepare them, and bring them together with the model.

    Args:
        options: `model`, `input_format`, `columns`, `set`, `types`, `narrow`, `keep` and `prepare` as the user gave
            them.
        files: of the input.
        session: to try the model with.
        few_runs: whether that session only plans and checks, and what scores rows is another: weights of a large model
            then stay in their file.

    Raises:
        UsageError: the rows cannot be read or prepared, or the model does not take them.
    """
    format = format_of(files, options.input_format)
    path = localize(options.model)
    check_model_file(path)
    if few_runs:
        session = for_few_runs(session, path)
    try:
        inferred = infer_schema(files, format)
    except NoColumns as error:
        if format == "csv" and not any(file.header is False for file in files):  # Not even a header.
            raise
        inferred = InferredSchema(_columns_of_nothing(options, path, session, error))
    folders = partition_types(file.path for file in files)
    of_folders = {name for name in options.types if name in folders and name not in inferred.schema.names}
    of_fields = declared_fields(
        inferred.schema, {k: v for k, v in options.types.items() if k not in of_folders}, format
    )
    made_later = {*of_folders, *of_fields}
    inferred = inferred.declared({k: v for k, v in options.types.items() if k not in made_later}, format)
    steps = prepare_steps(options)
    asked = [*of_fields, *_asked(options, inferred.schema, steps, path, session)]
    schema, derived, notes = with_derived(inferred.schema, files, asked)
    schema = pa.schema([f.with_type(options.types[f.name]) if f.name in made_later else f for f in schema])
    check_names(schema)
    prepare = fill_nulls(steps, with_origin_schema(schema), options.nulls)
    prepared = chain_schema(prepare, with_origin_schema(schema))
    check_keep(options.keep, prepared)
    inferred.check(derived.of_files([*options.keep, *(name for names in options.columns.values() for name in names)]))
    text = format in TEXT_FORMATS
    verbatim: tuple[str, ...] = ()
    if text and options.keep:
        verbatim = only_kept(options, get_session(ModelFile(path), session).signature, schema, prepare)
        own = {*options.types, *derived.names, *(way[0] for _, way in derived.fields)}
        verbatim = tuple(name for name in verbatim if name not in own)
        if format == "csv":
            schema = as_texts(schema, verbatim)
        else:
            schema = as_json(schema, verbatim, text=json_format(options) is not None)
        prepared = chain_schema(prepare, with_origin_schema(schema))
    codes = partition_codes(file.path for file in files) & {*derived.partitions} & {*options.keep} - of_folders
    if codes:
        signature = get_session(ModelFile(path), session).signature
        schema = as_texts(schema, codes & {*only_kept(options, signature, schema, prepare)})
        prepared = chain_schema(prepare, with_origin_schema(schema))
    reading = ReadOptions(schema, verbatim=verbatim, derived=derived, declared=tuple(options.types))
    raw = read_sample(files, format, reading, _sample_rows(format, bool(prepare)))
    rows = prepare_sample(raw, prepare, options.prepare)
    facts = facts_of(options, text)
    facts = replace(facts, ignore=frozenset({*facts.ignore, *derived.names}))
    if text and not prepare:
        named = {name for names in options.columns.values() for name in names}
        prepared, rows = without_values(prepared, rows, inferred.empty - (set(options.keep) - named))
    if rows is not None:
        running(rows, None, session)
    try:
        made = fit(path, session, prepared, rows, facts)
        if text and not prepare:
            schema = pa.schema([prepared.field(column.name) for column in schema])
    except UsageError as error:
        # One cell that is no number makes a whole column of a text file one of strings: a row that fails is less.
        kept = set(options.keep) - {name for names in options.columns.values() for name in names}
        numbers = schema
        if text and not prepare:
            # Of all the files: which comes first decides nothing.
            spread = raw if len(files) == 1 else read_spread(files, format, reading, SAMPLE_ROWS)
            numbers = mostly_numbers(schema, spread, {*kept, *options.types})
        if numbers == schema:
            raise inferred.explain(error) from error
        schema = numbers
        prepared = with_origin_schema(schema)
        rows = raw = read_sample(files, format, replace(reading, schema=schema), SAMPLE_ROWS)
        made = fit(path, session, prepared, rows, facts)
    context.block = None
    check_nulls(options.nulls, prepare, made.plan.binding.columns, prepared)
    for name in made.plan.binding.by_position:
        bound = next(one for one in made.plan.binding.inputs if one.name == name)
        inferred.check_order(bound.columns, f"the model's input {name!r}")
    needed = needed_columns(schema, prepare, [*made.plan.binding.columns, *options.keep])
    inferred.check(derived.of_files(needed))
    made = replace(made, notes=(*made.notes, *notes))
    return Sample(format, schema, derived, verbatim, prepare, prepared, raw, rows, made)


def _asked(
    options: argparse.Namespace, schema: pa.Schema, steps: Sequence[Step], path: str, session: SessionOptions
) -> list[str]:
    """Names of columns that may be fields of structs."""
    asked = [*options.keep, *(name for names in options.columns.values() for name in names), *options.nulls.columns]
    for step in steps:
        column = getattr(step, "column", None) or ()
        asked += [column] if isinstance(column, str) else column
    if any(pa.types.is_struct(field.type) for field in schema):
        asked += [spec.name for spec in get_session(ModelFile(path), session).signature.inputs]
    return asked


def _columns_of_nothing(
    options: argparse.Namespace, path: str, session: SessionOptions, error: UsageError
) -> pa.Schema:
    from beamsplit.pipelines.job.no_rows import columns_of_nothing

    signature = get_session(ModelFile(path), session).signature
    try:
        return columns_of_nothing(options, prepare_steps(options), signature)
    except UsageError as reason:
        raise UsageError(f"{error} ({reason})") from None


def prepare_steps(options: argparse.Namespace) -> tuple[Step, ...]:
    """The steps of `--prepare`."""
    if not options.prepare:
        return ()
    from beamsplit.transforms.prepare import parse_prepare

    return tuple(parse_prepare(spec, options.keep) for spec in options.prepare)


def facts_of(options: argparse.Namespace, text_source: bool) -> DataFacts:
    """What the user said of the data; a text source declares no widths of numbers."""
    return DataFacts(
        columns=options.columns,
        sets=options.set,
        narrow=options.narrow,
        together=options.coupled_rows == "accept",
        text_source=text_source,
        ignore=frozenset({*INTERNAL_COLUMNS, *options.keep}),
        nulls=options.nulls,
    )


def _sample_rows(format: str, prepared: bool) -> int:
    if format == "files":
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
