"""Everything that is found out before a job starts: what is read, how it is bound, what runs where."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.fitting.fitted_batch import choose_batch_size
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.execution.shards import check_local
from beamsplit.pipelines.execution.strategy import CannotDivide, settle_strategy, trying
from beamsplit.pipelines.execution.ways import default_workers, plan_execution
from beamsplit.pipelines.execution.workers import Workers, choose_worker_type, cores, count_workers
from beamsplit.pipelines.job.audit import audit_fact, with_audit
from beamsplit.pipelines.job.columns import (
    all_columns,
    as_the_model_wants,
    check_outputs,
    needed_columns,
)
from beamsplit.pipelines.job.csv_header import with_csv_header
from beamsplit.pipelines.job.depths import input_depths, narrower_floats
from beamsplit.pipelines.job.finishing import finish_steps, list_cells
from beamsplit.pipelines.job.json_output import json_format, steps_for_format
from beamsplit.pipelines.job.no_rows import leave_undivided
from beamsplit.pipelines.job.sample import open_sample
from beamsplit.pipelines.job.topic_ends import TopicEnds, check_columns_written, find_topics
from beamsplit.pipelines.job.versions import check_version, version_steps
from beamsplit.pipelines.options.values import Parallelism, RunnerOptions, ScoreOptions
from beamsplit.pipelines.report.summary import plan_lines, rows_fact
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.failures.formats import errors_format
from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.kafka.config import is_kafka
from beamsplit.transforms.read import (
    InputFile,
    ReadOptions,
    find_files,
    first_rows,
    format_of,
    total_rows,
    with_encoding,
)
from beamsplit.transforms.read.choice import left_out_notes
from beamsplit.transforms.step import Step
from beamsplit.transforms.write import check_apart, check_output, check_replaceable
from beamsplit.transforms.write.names import check_there
from beamsplit.transforms.write.storage import local_path

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
    """Of the files, the name of one of `transforms.formats.FORMATS`."""

    total_rows: int | None
    """Rows in the input; an estimate for text formats, None where nothing is known."""

    read: ReadOptions | None
    """None where messages are read."""

    prepare: tuple[Step, ...]
    infer: InferStep
    divided: Execution
    """How the model is run."""

    finish: tuple[Step, ...]
    schemas: dict[str, pa.Schema]
    """Schemas of blocks after `read`, `prepare`, `infer` and `finish`."""

    output: str
    errors: str | None
    max_failed: FailureLimit | None
    """How many rows may fail; None for any."""

    num_shards: int | None
    overwrite: bool
    """Whether outputs that are there are replaced."""

    workers: int
    worker_type: str
    partition: str | None
    capacities: tuple[float, ...] | str | None
    seed: int
    sample: pa.RecordBatch | None
    """Prepared sample rows, to measure workers with."""

    messages: Messages | None = None
    """What is read of a topic, in place of files."""

    topics: TopicEnds | None = None
    """Topics that `output` or `errors` name; None where both are files."""

    runner: RunnerOptions = field(default_factory=RunnerOptions)

    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """The plan in words, for --dry_run_plan and the summary."""

    @property
    def total_exact(self) -> bool:
        """Whether `total_rows` is no estimate."""
        return self.total_rows is not None and self.messages is None and not FORMATS[self.format].text

    def lines(self) -> list[str]:
        """The plan as text."""
        return plan_lines(self.facts, self.notes)


def plan_job(options: ScoreOptions, job_dir: str | None = None, local: bool = True) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.score.parse` gave.
        job_dir: folder that local workers share.
        local: whether workers run on this machine: only then are its cores and GPUs theirs.

    Raises:
        UsageError: something cannot work; one line with the fix.
    """
    binding, source = options.binding, options.source
    check_version(binding.model_version, options.sink.output)
    left_out: list[str] = []
    files = tuple(find_files(source.input, left_out=left_out))
    format = format_of(files, source.input_format)
    files = with_csv_header(with_encoding(files, format, source.encoding), format, source.csv_header, source.delimiter)
    if source.limit is not None:
        files = first_rows(files, format, source.limit)
    if binding.keep == ("*",):
        binding = replace(binding, keep=all_columns(files, format))
        options = replace(options, binding=binding)
    there = check_written(options, [binding.model, *(file.path for file in files)])
    topics = find_topics(options.sink, options.stream.kafka_config, local)
    parallelism, unfollowed = drop_unsupported_annotations(options.parallelism, local)
    parallelism, undivided = leave_undivided(parallelism, files, format)
    settled = settle_strategy(replace(options, parallelism=parallelism), files, format, local)
    why_so = (*there, *left_out_notes(left_out), *unfollowed, *undivided)
    ways, left = [settled, *settled.others], tuple[str, ...]()
    for at, way in enumerate(ways):
        try:
            return _planned(way.options, files, topics, (*why_so, *left, *way.lines), job_dir, local)
        except CannotDivide as error:
            if at + 1 == len(ways):
                raise
            left = (*left, f"{way.name} left out: {error}")
    raise AssertionError("there is one way at least")


def _planned(
    options: ScoreOptions,
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
    binding, sink, asked, parallelism = options.binding, options.sink, options.workers, options.parallelism
    workers = count_workers(replace(asked, count=default_workers(parallelism, asked.count)), local)
    format = format_of(files, options.source.input_format)
    to_text = json_format(sink) is not None
    sample = open_sample(binding, files, format, workers.session, few_runs=parallelism.in_parts, to_text=to_text)
    parallelism, unfollowed = drop_unsupported_annotations(parallelism, local, sample.made.sample is not None)
    schema, prepare, prepared, made = sample.schema, sample.prepare, sample.prepared, sample.made
    text = FORMATS[format].text
    check_outputs(binding.keep, [output.name for output in made.plan.outputs])

    plan, batch_fact = with_batch_size(made, known_batch_size(parallelism, asked.batch_size, made))
    rows = total_rows(files, format)
    notes = (*why_so, *unfollowed, *made.notes)
    if parallelism.shards == "auto":
        parallelism, plan, workers, line = _settled_shards(options, made, plan, workers, check_local(local, job_dir))
        notes = (*notes, line)
    at_once = None if rows is None else min(PLAIN_BLOCK_ROWS, max(1, rows // workers.count))
    request = Request(
        binding.model,
        made,
        plan,
        batch_fact,
        workers,
        prepared,
        binding.keep,
        job_dir,
        local,
        at_once,
        parallelism,
        asked,
        compare=options.watching.dry_run_plan,
    )
    with trying(parallelism, job_dir):
        divided = plan_execution(request)
    plan = divided.scoring
    infer = with_audit(asked.audit, divided.infer_step(request), made, divided.is_distributed, rows)
    after_infer = infer.output_schema(prepared)
    finish = finish_steps(binding, after_infer, made)
    around: list[str] = []
    if divided.overlap is not None:
        from beamsplit.pipelines.execution.side_stages import time_side_stages

        ends = time_side_stages(prepare, replace(infer, counted=False), finish, sample.raw, plan.batch_size)
        if asked.count is None and local:
            workers = replace(workers, count=ends.workers(divided.overlap.period, cores()))
        around = ends.lines(workers.count)
    finish += version_steps(binding.model_version, made.plan.model.path, chain_schema(finish, after_infer))
    finish += steps_for_format(sink, chain_schema(finish, after_infer), binding.keep)
    after_finish = chain_schema(finish, after_infer)
    check_columns_written(sink, after_finish)

    needed = needed_columns(schema, prepare, [*plan.binding.columns, *binding.keep])
    if text and not prepare:
        schema = as_the_model_wants(schema, plan.binding, {*binding.keep, *binding.types}, binding.narrow)
    limits = _block_limits(sample.rows, plan.batch_size, bool(prepare), divided)
    plain = text and not prepare
    leave = {*binding.keep, *binding.types, *sample.derived.names}
    read = ReadOptions(
        schema,
        needed,
        verbatim=sample.verbatim,
        derived=sample.derived,
        declared=tuple(binding.types),
        depths=input_depths(plan.binding, schema, leave) if plain and FORMATS[format].objects else (),
        fed=narrower_floats(plan.binding, schema) if plain else (),
        **limits,
    )
    steps = (*prepare, replace(infer, counted=False), *finish)
    worker_type, why = asked.worker_type, ""
    if divided.in_parts and worker_type is None:
        worker_type = "process" if divided.is_distributed else "thread"
    if worker_type is None:
        worker_type, why = choose_worker_type(
            steps, sample.raw, read.block_rows, workers.count, rows, asked.run_timeout
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
        output=sink.output,
        errors=sink.errors,
        max_failed=sink.max_failed,
        num_shards=sink.num_shards,
        overwrite=sink.overwrite,
        workers=workers.count,
        worker_type=worker_type,
        partition=asked.partition,
        capacities=asked.capacities,
        seed=asked.seed,
        sample=sample.rows,
        topics=topics,
        runner=options.runner,
        notes=(*notes, *divided.notes, *list_cells(sink.output, after_finish, made)),
        facts={
            "model": binding.model,
            "input": _input_fact(len(files), format, rows),
            "inputs": plan.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            **rows_fact(made),
            **audit_fact(asked.audit, rows),
            "batch size": divided.batch_size,
            "workers": _workers_fact(workers, worker_type, why, asked.partition),
            "providers": ", ".join(workers.session.providers),
            **divided.facts,
            **({"around them": around} if around else {}),
            "output": (topics and topics.output_fact) or sink.output,
        },
    )


def _settled_shards(
    options: ScoreOptions, made: Fit, plan: Any, workers: Workers, job_dir: str
) -> tuple[Parallelism, Any, Workers, str]:
    """`--shards auto` settled; (how the model is divided, how the whole model is run, the workers for it, why)."""
    from beamsplit.pipelines.execution.shard_count import Whole, choose_shards
    from beamsplit.pipelines.job.sample_feeds import sample_feeds

    parallelism, asked = options.parallelism, options.workers
    rows = 1 if plan.row_by_row else parallelism.micro_batch or plan.batch_size
    few = 1 if plan.row_by_row else SAMPLE_RUN_ROWS
    whole = Whole(plan.model, made.session, partial(sample_feeds, made, plan), rows, few)
    chosen = choose_shards(whole, workers, asked, parallelism, job_dir)
    shards = chosen.shards if chosen.shards > 1 else None
    parallelism = replace(parallelism, shards=shards, shard_source=chosen.source)
    if shards is not None:
        workers = count_workers(replace(asked, count=default_workers(parallelism, asked.count)), local=True)
    elif parallelism.micro_batch is not None and not plan.row_by_row:
        plan = replace(plan, batch_size=parallelism.micro_batch)
    return parallelism, plan, workers, f"--shards auto: {chosen.line}"


def _input_fact(files: int, format: str, rows: int | None) -> str:
    about = "about " if FORMATS[format].text else ""
    known = f", {about}{rows:,} rows" if rows is not None else ""
    kind = "" if FORMATS[format].files else f"{format} "
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


def check_written(options: ScoreOptions, read: list[str]) -> tuple[str, ...]:
    """Raise for an output, errors or summary file that cannot be written, is there, or is one of those read.

    Returns:
        Notes: of a plan that is only shown, an output may well be there.
    """
    sink, dry = options.sink, options.watching.dry_run_plan
    output, errors = sink.output, sink.errors
    there: tuple[str, ...] = ()
    if not is_kafka(output):
        there = check_output(output, read, sink.num_shards, sink.overwrite or dry)
    if errors and not is_kafka(errors):
        check_apart("--errors", errors, output, read)
        check_replaceable(errors, "--errors")
        errors_format(errors)
        if local_path(errors) is not None:
            there += check_there(errors, True, sink.overwrite or dry, "--errors")
    taken = [*read, *filter(None, [errors])]
    for option, path in (("--summary", options.watching.summary), ("--replan", options.parallelism.replan)):
        if path:
            check_apart(option, path, output, taken)
            taken.append(path)
    return () if sink.overwrite or not there else (f"{there[0]} is there already: to run this, add --overwrite",)


def known_batch_size(parallelism: Parallelism, wanted: int | str, made: Fit) -> int | str:
    """`--batch_size`; of a large model that runs in parts `--micro_batch`, so that it need not be loaded to measure."""
    return parallelism.micro_batch if made.session.options.mapped and parallelism.micro_batch else wanted


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


def _block_limits(sample: pa.RecordBatch | None, batch_size: int, prepared: bool, divided: Execution) -> dict[str, Any]:
    if not prepared:
        # Decoded rows that stay in cache until they are scored, and pages that the next block uses again.
        return {"block_rows": PLAIN_BLOCK_ROWS, "block_bytes": 32 << 20}
    row_bytes = sample.nbytes // max(1, sample.num_rows) if sample is not None else PREPARED_BLOCK_BYTES // 8
    rows = max(1, PREPARED_BLOCK_BYTES // max(1, row_bytes))
    # Whole runs of the model, so that no run is left half empty at the end of each block.
    rows = max(batch_size, rows // batch_size * batch_size)
    if divided.overlap is not None:
        # So many micro-batches that the stages overlap for most of the time.
        wanted = batch_size * MICRO_BATCHES_A_STAGE * divided.overlap.stages
        rows = max(rows, min(wanted, max(1, SPLIT_BLOCK_BYTES // max(1, row_bytes)) // batch_size * batch_size))
    return {"block_rows": min(rows, 65_536), "block_bytes": 64 << 20}
