"""Everything that is found out before a job starts: what is read, how it is bound, what runs where."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from models.errors import UsageError
from models.fit import DataFacts, Fit, choose_batch_size, fit
from pipelines.columns import (
    as_the_model_wants,
    check_keep,
    check_names,
    check_outputs,
    mostly_numbers,
    needed_columns,
)
from pipelines.workers import Workers, choose_worker_type, count_workers
from transforms.block import COPY, INTERNAL_COLUMNS, with_origin_schema
from transforms.chain import chain_schema
from transforms.infer import InferStep
from transforms.model_file import localize
from transforms.read import MakeSplits, ReadOptions, find_files, format_of, input_schema, read_sample, total_rows
from transforms.step import Step
from transforms.write import check_apart, check_output

SAMPLE_ROWS, SAMPLE_PREPARED, SAMPLE_FILES = 4_096, 256, 8
"""Rows read at the start to check binding and axes and to time the model on: of tables that need no preparing, of
others, and of inputs in which each file is a row."""

SAMPLE_BYTES = 4 << 20
"""Most bytes of prepared sample rows: a few images are enough."""

PREPARED_BLOCK_BYTES = 8 << 20
"""Prepared rows of one block: images stay in cache between the data stage and the model."""

MODEL_MEMORY_CAP = 256 << 20
"""Most bytes of inputs and outputs of one run, for `--batch_size auto`."""

TEXT_FORMATS = ("csv", "jsonl")


@dataclass(frozen=True)
class Job:
    """A job that can run: every name, type, shape and file has been checked."""

    splits: MakeSplits
    """The input, cut into what one worker reads by itself."""

    total_rows: int | None
    """Rows in the input; an estimate for text formats, None where nothing is known."""

    read: ReadOptions
    prepare: tuple[Step, ...]
    infer: InferStep
    finish: tuple[Step, ...]
    schemas: dict[str, pa.Schema]
    """Schemas of blocks after `read`, `prepare`, `infer` and `finish`."""

    output: str
    errors: str | None
    num_shards: int | None
    workers: int
    worker_type: str
    partition: str | None
    capacities: list[float] | str | None
    seed: int
    sample: pa.RecordBatch | None
    """Prepared sample rows, to measure workers with."""

    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """The plan in words, for --dry_run_plan and the summary."""

    def lines(self) -> list[str]:
        """The plan as text."""
        width = max(len(name) for name in self.facts)
        lines = []
        for name, value in self.facts.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"{name if i == 0 else '':<{width}}  {one}" for i, one in enumerate(values)]
        return [*lines, *(f"note: {note}" for note in self.notes)]


def plan_job(options: argparse.Namespace, job_dir: str | None = None, local: bool = True) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.parse` gave.
        job_dir: folder that local workers share.
        local: whether workers run on this machine: only then are its cores and GPUs theirs.

    Raises:
        UsageError: something cannot work; one line with the fix.
    """
    files = tuple(find_files(options.input))
    _check_written(options, [options.model, *(file.path for file in files)])
    format = format_of(files, options.input_format)
    schema = input_schema(files, format)

    prepare: tuple[Step, ...] = ()
    if options.prepare:
        from transforms.prepare import parse_prepare

        prepare = tuple(parse_prepare(spec, options.keep) for spec in options.prepare)
    check_names(schema)
    prepared = chain_schema(prepare, with_origin_schema(schema))
    check_keep(options.keep, prepared)

    workers = count_workers(options.workers, options.threads, options.providers, local)
    raw = read_sample(files, format, ReadOptions(schema), _sample_rows(format, bool(prepare)))
    sample = _prepared(raw, prepare, options.prepare)
    text = format in TEXT_FORMATS
    facts = DataFacts(
        columns=options.columns,
        sets=options.set,
        narrow=options.narrow,
        text_source=text,
        ignore=frozenset({*INTERNAL_COLUMNS, *options.keep}),
    )
    path = localize(options.model)
    try:
        made = fit(path, workers.session, prepared, sample, facts)
    except UsageError:
        # One cell that is no number makes a whole column of a text file one of strings: a row that fails is less.
        numbers = mostly_numbers(schema, raw) if text and not prepare else schema
        if numbers == schema:
            raise
        schema = numbers
        prepared = with_origin_schema(schema)
        sample = raw = read_sample(files, format, ReadOptions(schema), SAMPLE_ROWS)
        made = fit(path, workers.session, prepared, sample, facts)
    check_outputs(options.keep, [output.name for output in made.plan.outputs])

    plan, batch_fact = _with_batch_size(made, options.batch_size)
    infer = InferStep(plan, workers.session, options.model, options.keep, workers.gpus, job_dir)
    after_infer = infer.output_schema(prepared)
    finish = _finish_steps(options, after_infer, made)
    after_finish = chain_schema(finish, after_infer)

    needed = needed_columns(schema, prepare, [*plan.binding.columns, *options.keep])
    if text and not prepare:
        schema = as_the_model_wants(schema, plan.binding, options.keep)
    read = ReadOptions(schema, needed, **_block_limits(sample, plan.batch_size, bool(prepare)))
    rows = total_rows(files, format)
    steps = (*prepare, infer, *finish)
    worker_type, why = options.worker_type, ""
    if worker_type is None:
        worker_type, why = choose_worker_type(steps, raw, read.block_rows, workers.count, rows)
    return Job(
        splits=MakeSplits(files, format, workers.count),
        total_rows=rows,
        read=read,
        prepare=prepare,
        infer=infer,
        finish=finish,
        schemas={
            "read": with_origin_schema(read.data_schema),
            "prepare": prepared,
            "infer": after_infer,
            "finish": after_finish,
        },
        output=options.output,
        errors=options.errors,
        num_shards=options.num_shards,
        workers=workers.count,
        worker_type=worker_type,
        partition=options.partition,
        capacities=options.capacities,
        seed=options.seed,
        sample=sample,
        notes=made.notes,
        facts={
            "model": options.model,
            "input": _input_fact(len(files), format, rows),
            "inputs": plan.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in _data(after_finish)],
            "batch size": batch_fact,
            "workers": _workers_fact(workers, worker_type, why, options.partition),
            "providers": ", ".join(workers.session.providers),
            "output": options.output,
        },
    )


def _input_fact(files: int, format: str, rows: int | None) -> str:
    about = "about " if format in TEXT_FORMATS else ""
    known = f", {about}{rows:,} rows" if rows is not None else ""
    return f"{files:,} {format} file{'s' * (files != 1)}{known}"


def _workers_fact(workers: Workers, worker_type: str, why: str, partition: str | None) -> str:
    kind = {"thread": "threads", "process": "processes"}[worker_type]
    threads = workers.session.threads
    dealt = f", rows dealt {partition}" if partition else ""
    return (
        f"{workers.count} {kind}, {threads} thread{'s' * (threads != 1)} a session{dealt}{f' ({why})' if why else ''}"
    )


def _data(schema: pa.Schema) -> list[pa.Field]:
    return [column for column in schema if column.name not in INTERNAL_COLUMNS]


def _check_written(options: argparse.Namespace, read: list[str]) -> None:
    check_output(options.output, read)
    if options.errors:
        check_apart("--errors", options.errors, options.output, read)
    if options.summary:
        check_apart("--summary", options.summary, options.output, [*read, *filter(None, [options.errors])])


def _sample_rows(format: str, prepared: bool) -> int:
    if format == "files":
        return SAMPLE_FILES
    return SAMPLE_PREPARED if prepared else SAMPLE_ROWS


def _prepared(sample: pa.RecordBatch | None, prepare: Sequence[Step], specs: Sequence[str]) -> pa.RecordBatch | None:
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


def _with_batch_size(made: Fit, wanted: int | str) -> tuple[Any, str]:
    if made.plan.row_by_row:
        return replace(made.plan, batch_size=1), "1 (row by row)"
    if isinstance(wanted, int):
        return replace(made.plan, batch_size=wanted), str(wanted)
    choice = choose_batch_size(made, MODEL_MEMORY_CAP)
    if choice is None:
        return replace(made.plan, batch_size=32), "32 (no sample rows to measure with)"
    return (
        replace(made.plan, batch_size=choice.batch_size),
        f"{choice.batch_size} (measured: {choice.rows_per_second:,.0f} rows/s a worker)",
    )


def _finish_steps(options: argparse.Namespace, schema: pa.Schema, made: Fit) -> tuple[Step, ...]:
    if not options.finish and not options.prepare:
        return ()
    from transforms.finish import parse_finish, with_mean_of_copies

    outputs = [output.name for output in made.plan.outputs]
    steps = [parse_finish(spec, outputs) for spec in options.finish]
    if COPY in schema.names:
        steps = with_mean_of_copies(steps, outputs)
    return tuple(steps)


def _block_limits(sample: pa.RecordBatch | None, batch_size: int, prepared: bool) -> dict[str, int]:
    if not prepared:
        # Decoded rows that stay in cache until they are scored, and pages that the next block uses again.
        return {"block_rows": 131_072, "block_bytes": 32 << 20}
    row_bytes = sample.nbytes // max(1, sample.num_rows) if sample is not None else PREPARED_BLOCK_BYTES // 8
    rows = max(1, PREPARED_BLOCK_BYTES // max(1, row_bytes))
    # Whole runs of the model, so that no run is left half empty at the end of each block.
    rows = max(batch_size, rows // batch_size * batch_size)
    return {"block_rows": min(rows, 65_536), "block_bytes": 64 << 20}
