"""Everything that is found out before a job starts: what is read, how it is bound, what runs where."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.fitting.fitted_batch import choose_batch_size
from beamsplit.pipelines.execution.divided import Divided, default_workers, divide, runs_in_parts
from beamsplit.pipelines.execution.shard_source import leave_aside
from beamsplit.pipelines.execution.strategy import CannotDivide, settle_strategy, trying
from beamsplit.pipelines.execution.workers import Workers, choose_worker_type, cores, count_workers
from beamsplit.pipelines.job.audit import audit_fact, with_audit
from beamsplit.pipelines.job.columns import (
    as_the_model_wants,
    check_outputs,
    needed_columns,
)
from beamsplit.pipelines.job.csv_header import with_csv_header
from beamsplit.pipelines.job.depths import input_depths, narrower_floats
from beamsplit.pipelines.job.finishing import finish_steps, list_cells
from beamsplit.pipelines.job.json_output import steps_for_format
from beamsplit.pipelines.job.no_rows import leave_undivided
from beamsplit.pipelines.job.sample import TEXT_FORMATS, open_sample
from beamsplit.pipelines.job.topic_ends import TopicEnds, check_columns_written, find_topics
from beamsplit.pipelines.job.versions import check_version, version_steps
from beamsplit.pipelines.report.summary import plan_lines, rows_fact
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.failures.formats import errors_format
from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.kafka.config import is_kafka
from beamsplit.transforms.read import InputFile, ReadOptions, find_files, format_of, total_rows, with_encoding
from beamsplit.transforms.read.choice import left_out_notes
from beamsplit.transforms.step import Step
from beamsplit.transforms.write import check_apart, check_output, check_replaceable

if TYPE_CHECKING:
    from beamsplit.pipelines.job.topic_range import Messages

PREPARED_BLOCK_BYTES = 8 << 20
"""Prepared rows of one block: images stay in cache between the data stage and the model."""

PLAIN_BLOCK_ROWS = 131_072
"""Rows of one block where nothing is prepared."""

MICRO_BATCHES_A_STAGE = 4
SPLIT_BLOCK_BYTES = 64 << 20
"""Prepared rows of one block where a split model overlaps its stages: micro-batches a stage, and most bytes."""

MODEL_MEMORY_CAP = 256 << 20
"""Most bytes of inputs and outputs of one run, for `--batch_size auto`."""


@dataclass(frozen=True)
class Job:
    """A job that can run: every name, type, shape and file has been checked."""

    files: tuple[InputFile, ...]
    format: str
    """Of the files, one of `transforms.split.FORMATS`."""

    total_rows: int | None
    """Rows in the input; an estimate for text formats, None where nothing is known."""

    read: ReadOptions | None
    """None where messages are read."""

    prepare: tuple[Step, ...]
    infer: InferStep
    divided: Divided
    """How the model is run."""

    finish: tuple[Step, ...]
    schemas: dict[str, pa.Schema]
    """Schemas of blocks after `read`, `prepare`, `infer` and `finish`."""

    output: str
    errors: str | None
    max_failed: FailureLimit | None
    """How many rows may fail; None for any."""

    num_shards: int | None
    workers: int
    worker_type: str
    partition: str | None
    capacities: list[float] | str | None
    seed: int
    sample: pa.RecordBatch | None
    """Prepared sample rows, to measure workers with."""

    messages: Messages | None = None
    """What is read of a topic, in place of files."""

    topics: TopicEnds | None = None
    """Topics that `output` or `errors` name; None where both are files."""

    runner: str = "DirectRunner"
    """As `--runner` names it."""

    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """The plan in words, for --dry_run_plan and the summary."""

    @property
    def total_exact(self) -> bool:
        """Whether `total_rows` is no estimate."""
        return self.total_rows is not None and self.messages is None and self.format not in TEXT_FORMATS

    def lines(self) -> list[str]:
        """The plan as text."""
        return plan_lines(self.facts, self.notes)


def plan_job(options: argparse.Namespace, job_dir: str | None = None, local: bool = True) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.score.parse` gave.
        job_dir: folder that local workers share.
        local: whether workers run on this machine: only then are its cores and GPUs theirs.

    Raises:
        UsageError: something cannot work; one line with the fix.
    """
    check_version(options)
    left_out: list[str] = []
    files = tuple(find_files(options.input, left_out=left_out))
    files = with_encoding(files, format_of(files, options.input_format), options.encoding)
    files = with_csv_header(files, options)
    check_written(options, [options.model, *(file.path for file in files)])
    topics = find_topics(options, local)
    aside = (*left_out_notes(left_out), *leave_aside(options, local), *leave_undivided(options, files))
    settled = settle_strategy(options, files, local)
    ways, left = [settled, *settled.others], tuple[str, ...]()
    for at, way in enumerate(ways):
        vars(options).update(vars(way.options))
        try:
            return _planned(options, files, topics, (*aside, *left, *way.lines), job_dir, local)
        except CannotDivide as error:
            if at + 1 == len(ways):
                raise
            left = (*left, f"{way.name} left out: {error}")
    raise AssertionError("there is one way at least")


def _planned(
    options: argparse.Namespace,
    files: tuple[InputFile, ...],
    topics: TopicEnds | None,
    why_so: tuple[str, ...],
    job_dir: str | None,
    local: bool,
) -> Job:
    """The job as its options have it now.

    Raises:
        CannotDivide: the model cannot be divided as a strategy says.
        UsageError: something else cannot work.
    """
    workers = count_workers(default_workers(options), options.threads, options.providers, local, options.run_timeout)
    sample = open_sample(options, files, workers.session, few_runs=runs_in_parts(options))
    why_so += leave_aside(options, local, sample.made.sample is not None)
    format, schema, prepare, prepared, made = sample.format, sample.schema, sample.prepare, sample.prepared, sample.made
    text = format in TEXT_FORMATS
    check_outputs(options.keep, [output.name for output in made.plan.outputs])

    plan, batch_fact = with_batch_size(made, known_batch_size(options, made))
    rows = total_rows(files, format)
    notes = (*why_so, *made.notes)
    if options.shards == "auto":
        plan, workers, line = _settled_shards(options, made, plan, workers, local, job_dir)
        notes = (*notes, line)
    at_once = None if rows is None else min(PLAIN_BLOCK_ROWS, max(1, rows // workers.count))
    with trying(options, job_dir):
        divided = divide(options, made, plan, batch_fact, workers, prepared, job_dir, local, at_once)
    plan = divided.scoring
    infer = with_audit(options, divided.infer_step(options, workers, job_dir), made, divided.apart, rows)
    after_infer = infer.output_schema(prepared)
    finish = finish_steps(options, after_infer, made)
    around: list[str] = []
    if infer.staged is not None:
        from beamsplit.pipelines.execution.side_stages import time_ends

        ends = time_ends(prepare, replace(infer, counted=False), finish, sample.raw, plan.batch_size)
        if options.workers is None and local:
            workers = replace(workers, count=ends.workers(infer.staged.period, cores()))
        around = ends.lines(workers.count)
    finish += version_steps(options, made.plan.model.path, chain_schema(finish, after_infer))
    finish += steps_for_format(options, chain_schema(finish, after_infer))
    after_finish = chain_schema(finish, after_infer)
    check_columns_written(options, after_finish)

    needed = needed_columns(schema, prepare, [*plan.binding.columns, *options.keep])
    if text and not prepare:
        schema = as_the_model_wants(schema, plan.binding, {*options.keep, *options.types}, options.narrow)
    limits = _block_limits(sample.rows, plan.batch_size, bool(prepare), divided)
    plain = text and not prepare
    leave = {*options.keep, *options.types, *sample.derived.names}
    read = ReadOptions(
        schema,
        needed,
        verbatim=sample.verbatim,
        derived=sample.derived,
        declared=tuple(options.types),
        depths=input_depths(plan.binding, schema, leave) if plain and format == "jsonl" else (),
        fed=narrower_floats(plan.binding, schema) if plain else (),
        **limits,
    )
    steps = (*prepare, replace(infer, counted=False), *finish)
    worker_type, why = options.worker_type, ""
    if divided.in_parts and worker_type is None:
        worker_type = "process" if divided.apart else "thread"
    if worker_type is None:
        worker_type, why = choose_worker_type(
            steps, sample.raw, read.block_rows, workers.count, rows, options.run_timeout
        )
    return Job(
        files=files,
        format=format,
        total_rows=rows,
        read=read,
        prepare=prepare,
        infer=infer,
        divided=divided,
        finish=finish,
        schemas={
            "read": with_origin_schema(read.data_schema),
            "prepare": prepared,
            "infer": after_infer,
            "finish": after_finish,
        },
        output=options.output,
        errors=options.errors,
        max_failed=options.max_failed,
        num_shards=options.num_shards,
        workers=workers.count,
        worker_type=worker_type,
        partition=options.partition,
        capacities=options.capacities,
        seed=options.seed,
        sample=sample.rows,
        topics=topics,
        runner=options.runner,
        notes=(*notes, *divided.notes, *list_cells(options, after_finish, made)),
        facts={
            "model": options.model,
            "input": _input_fact(len(files), format, rows),
            "inputs": plan.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            **rows_fact(made),
            **audit_fact(options, rows),
            "batch size": divided.batch_size,
            "workers": _workers_fact(workers, worker_type, why, options.partition),
            "providers": ", ".join(workers.session.providers),
            **divided.facts,
            **({"around them": around} if around else {}),
            "output": (topics and topics.output_fact) or options.output,
        },
    )


def _settled_shards(
    options: argparse.Namespace, made: Fit, plan: Any, workers: Workers, local: bool, job_dir: str | None
) -> tuple[Any, Workers, str]:
    """Settle `--shards auto`; (how the whole model is run, the workers for it, why)."""
    from beamsplit.pipelines.execution.shard_count import Whole, choose_shards
    from beamsplit.pipelines.execution.shards import check_local
    from beamsplit.pipelines.execution.shards import default_workers as workers_of_shards
    from beamsplit.pipelines.job.sample_feeds import sample_feeds

    rows = 1 if plan.row_by_row else options.micro_batch or plan.batch_size
    few = 1 if plan.row_by_row else SAMPLE_RUN_ROWS
    whole = Whole(plan.model, made.session, partial(sample_feeds, made, plan), rows, few)
    chosen = choose_shards(options, whole, workers, check_local(local, job_dir))
    options.shards = chosen.shards if chosen.shards > 1 else None
    options.shard_source = chosen.source
    if options.shards is not None:
        workers = count_workers(
            workers_of_shards(options), options.threads, options.providers, local, options.run_timeout
        )
    elif options.micro_batch is not None and not plan.row_by_row:
        plan = replace(plan, batch_size=options.micro_batch)
    return plan, workers, f"--shards auto: {chosen.line}"


def _input_fact(files: int, format: str, rows: int | None) -> str:
    about = "about " if format in TEXT_FORMATS else ""
    known = f", {about}{rows:,} rows" if rows is not None else ""
    kind = "" if format == "files" else f"{format} "
    return f"{files:,} {kind}file{'s' * (files != 1)}{known}"


def _workers_fact(workers: Workers, worker_type: str, why: str, partition: str | None) -> str:
    kind = {"thread": "threads", "process": "processes"}[worker_type]
    threads = workers.session.threads
    dealt = f", rows dealt {partition}" if partition else ""
    return (
        f"{workers.count} {kind}, {threads} thread{'s' * (threads != 1)} a session{dealt}{f' ({why})' if why else ''}"
    )


def user_fields(schema: pa.Schema) -> list[pa.Field]:
    """The columns that a user sees."""
    return [column for column in schema if column.name not in INTERNAL_COLUMNS]


def check_written(options: argparse.Namespace, read: list[str]) -> None:
    """Raise for an output, errors or summary file that cannot be written, or is one of those read."""
    if not is_kafka(options.output):
        check_output(options.output, read)
    if options.errors and not is_kafka(options.errors):
        check_apart("--errors", options.errors, options.output, read)
        check_replaceable(options.errors, "--errors")
        errors_format(options.errors)
    taken = [*read, *filter(None, [options.errors])]
    for name in ("summary", "replan"):
        path = getattr(options, name)
        if path:
            check_apart(f"--{name}", path, options.output, taken)
            taken.append(path)


def known_batch_size(options: argparse.Namespace, made: Fit) -> int | str:
    """`--batch_size`; of a large model that runs in parts `--micro_batch`, so that it need not be loaded to measure."""
    return options.micro_batch if made.session.options.mapped and options.micro_batch else options.batch_size


def with_batch_size(made: Fit, wanted: int | str) -> tuple[Any, str]:
    """(the plan with its batch size, given or measured; that in words)."""
    if made.plan.row_by_row:
        return replace(made.plan, batch_size=1), "1 (row by row)"
    if isinstance(wanted, int):
        plan = replace(made.plan, batch_size=wanted)
        more = f" (not {wanted}: more rows were not seen to keep apart)" if plan.batch_size < wanted else ""
        return plan, f"{plan.batch_size}{more}"
    choice = choose_batch_size(made, MODEL_MEMORY_CAP)
    if choice is None:
        lacking = "memory to measure it" if made.sample is not None else "sample rows to measure with"
        return replace(made.plan, batch_size=32), f"32 (no {lacking})"
    return (
        replace(made.plan, batch_size=choice.batch_size),
        f"{choice.batch_size} (measured: {choice.rows_per_second:,.0f} rows/s a worker)",
    )


def _block_limits(sample: pa.RecordBatch | None, batch_size: int, prepared: bool, divided: Divided) -> dict[str, Any]:
    if not prepared:
        # Decoded rows that stay in cache until they are scored, and pages that the next block uses again.
        return {"block_rows": PLAIN_BLOCK_ROWS, "block_bytes": 32 << 20}
    row_bytes = sample.nbytes // max(1, sample.num_rows) if sample is not None else PREPARED_BLOCK_BYTES // 8
    rows = max(1, PREPARED_BLOCK_BYTES // max(1, row_bytes))
    # Whole runs of the model, so that no run is left half empty at the end of each block.
    rows = max(batch_size, rows // batch_size * batch_size)
    if divided.split is not None and not divided.apart:
        # So many micro-batches that the stages overlap for most of the time.
        wanted = batch_size * MICRO_BATCHES_A_STAGE * len(divided.split.model.sessions)
        rows = max(rows, min(wanted, max(1, SPLIT_BLOCK_BYTES // max(1, row_bytes)) // batch_size * batch_size))
    return {"block_rows": min(rows, 65_536), "block_bytes": 64 << 20}
