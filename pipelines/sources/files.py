"""Files as what a job reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.job.columns import all_columns, as_the_model_wants, needed_columns
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions, SinkOptions
from beamsplit.pipelines.sinks.json_output import json_format
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.csv_header import with_csv_header
from beamsplit.pipelines.sources.depths import input_depths, narrower_floats
from beamsplit.pipelines.sources.sample import Sample, SampleOptions, open_sample
from beamsplit.pipelines.sources.source import Source, SourceRows
from beamsplit.transforms.failures.origins import Rows, numbers
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import (
    InputFile,
    ReadOptions,
    find_files,
    first_rows,
    format_of,
    has_rows,
    total_rows,
    with_encoding,
)
from beamsplit.transforms.read.choice import left_out_notes
from beamsplit.transforms.read.splits import deal_whole
from beamsplit.transforms.read.wanted import wanted_splits
from beamsplit.transforms.split import Split
from beamsplit.transforms.step import Step
from beamsplit.transforms.where import Node, bind_where, parse_where

if TYPE_CHECKING:
    import apache_beam as beam

    from beamsplit.pipelines.job.job import Job

PREPARED_BLOCK_BYTES = 8 << 20
"""Prepared rows of one block: images stay in cache between the data stage and the model."""

PLAIN_BLOCK_ROWS = 131_072
"""Rows of one block where nothing is prepared."""

MICRO_BATCHES_A_STAGE = 4
SPLIT_BLOCK_BYTES = 64 << 20
"""Prepared rows of one block where a split model overlaps its stages: micro-batches a stage, and most bytes."""


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> Files:
    """The files of `--input`.

    Raises:
        UsageError: there are none, or they are of several formats.
    """
    asked = options.source
    left_out: list[str] = []
    files = tuple(find_files(asked.input, left_out=left_out))
    format = format_of(files, asked.input_format)
    files = with_csv_header(with_encoding(files, format, asked.encoding), format, asked.csv_header, asked.delimiter)
    if asked.limit is not None:
        files = first_rows(files, format, asked.limit)
    notes = list(left_out_notes(left_out))
    if asked.limit is not None and asked.where is not None:
        notes.append(f"of the first {asked.limit:,} rows of the input, those are scored that --where keeps")
    where = None if asked.where is None else parse_where(asked.where)
    return Files(files, format, tuple(notes), job_dir, where, asked.where)


@dataclass(frozen=True)
class Files(Source):
    """Files of one format."""

    inputs: tuple[InputFile, ...]
    format: str
    """The name of one of `transforms.formats.FORMATS`."""

    notes: tuple[str, ...] = ()
    job_dir: str | None = None
    where: Node | None = None
    """The condition that rows are kept by."""

    condition: str | None = None
    """The same as it is typed."""

    sample: Sample | None = None
    """The first rows, once the model is bound."""

    reading: ReadOptions | None = None
    """How they are read, once that is known."""

    splits: Sequence[Split] | None = None
    """As they are dealt to the workers, if they were made already."""

    wanted: Rows | None = None
    """The rows of them that are read again (`--replay`); None for all."""

    after: tuple[Step, ...] = ()
    """What tells of each prediction which row it was made of."""

    planning: PlanningBudget = UNLIMITED
    """What runs of the model may take before the job begins."""

    @property
    def files(self) -> Sequence[str]:
        """Their paths."""
        return [file.path for file in self.inputs]

    @property
    def total_rows(self) -> int | None:
        """Rows in the input; an estimate for text formats, None where nothing is known."""
        if self.wanted is not None:
            return sum(len(numbers(rows)) for rows in self.wanted.values())
        return total_rows(self.inputs, self.format)

    @property
    def total_exact(self) -> bool:
        """Whether the format tells, and no row is left out."""
        if self.wanted is not None:
            return True
        return self.where is None and self.total_rows is not None and not FORMATS[self.format].text

    @property
    def columns(self) -> tuple[str, ...]:
        """Their columns, and those that the names of their folders tell."""
        return all_columns(self.inputs, self.format)

    @property
    def empty(self) -> bool:
        """Whether no file has a row."""
        return not has_rows(self.inputs, self.format)

    def within(self, budget: PlanningBudget) -> Files:
        """With that for what runs of the model may take when the first rows are brought together with it."""
        return replace(self, planning=budget)

    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        """Read the first rows, prepare them, and bring them together with the model."""
        to_text = json_format(sink) is not None
        known = SampleOptions(few_runs, to_text, self.where, self.planning)
        return open_sample(binding, self.inputs, self.format, session, known)

    def rows_at_once(self, scoring: ScoringPlan, workers: int) -> int | None:
        """Of a block, or of a worker's share."""
        rows = self.total_rows
        return None if rows is None else min(PLAIN_BLOCK_ROWS, max(1, rows // workers))

    def ready(self, binding: BindingOptions, bound: Bound, request: Request, execution: Execution) -> Files:
        """With the columns that are needed, as the model wants them."""
        assert isinstance(bound, Sample)
        plan, schema = execution.scoring, bound.schema
        needed = needed_columns(schema, bound.prepare, [*plan.binding.columns, *binding.keep])
        plain = FORMATS[self.format].text and not bound.prepare
        if plain:
            schema = as_the_model_wants(schema, plan.binding, {*binding.keep, *binding.types}, binding.narrow)
        leave = {*binding.keep, *binding.types, *bound.derived.names}
        reading = ReadOptions(
            schema,
            needed,
            verbatim=bound.verbatim,
            derived=bound.derived,
            declared=tuple(binding.types),
            depths=input_depths(plan.binding, schema, leave) if plain and FORMATS[self.format].objects else (),
            fed=narrower_floats(plan.binding, schema) if plain else (),
            where=None if bound.where is None else bind_where(bound.where, schema),
            **_block_limits(bound.rows, plan.batch_size, bool(bound.prepare), execution),
        )
        splits = self.splits
        if self.wanted is not None:
            splits = deal_whole(wanted_splits(self.inputs, self.format, self.wanted), request.workers.count)
        return replace(self, sample=bound, reading=reading, splits=splits)

    @property
    def behind(self) -> tuple[Step, ...]:
        """What tells of each prediction which row it was made of."""
        return self.after

    @property
    def block_rows(self) -> int:
        """Rows of one block."""
        assert self.reading is not None
        return self.reading.block_rows

    @property
    def facts(self) -> Mapping[str, Any]:
        """How many, and their rows."""
        count, rows = len(self.inputs), self.total_rows
        about = "about " if FORMATS[self.format].text and self.wanted is None else ""
        known = f", {about}{rows:,} rows" if rows is not None else ""
        kind = "" if FORMATS[self.format].files else f"{self.format} "
        kept = {} if self.condition is None else {"where": self.condition}
        known = known if self.wanted is None else f",{known.removeprefix(',')} that failed"
        return {"input": f"{count:,} {kind}file{'s' * (count != 1)}{known}", **kept}

    def read(self, pipeline: beam.Pipeline, job: Job, hints: Mapping[str, str]) -> SourceRows:
        """Wire splits of the files, dealt to the workers, and their reading."""
        from beamsplit.runners.direct import is_direct
        from beamsplit.transforms.apply import AsRowErrors
        from beamsplit.transforms.infer.capacity import MeasureCapacities
        from beamsplit.transforms.partition import PartitionRows, PartitionSplits
        from beamsplit.transforms.read import MakeSplits, ReadSplits

        assert self.reading is not None and self.sample is not None
        asked, workers = job.asked, job.workers
        local = is_direct(job.runner.name)
        make = MakeSplits(self.inputs, self.format, workers, local, self.splits, dealt_whole(asked.partition))
        splits = pipeline | "Splits" >> make
        if asked.partition in ("contiguous", "proportional"):
            measured = None
            if asked.capacities == "measured" and self.sample.rows is not None:
                measured = pipeline | "Measure" >> MeasureCapacities(job.infer, self.sample.rows, workers)
            capacities = list(asked.capacities) if isinstance(asked.capacities, tuple) else None
            splits = splits | "Partition" >> PartitionSplits(asked.partition, workers, capacities, measured)
        blocks, unread = splits | "Read" >> ReadSplits(self.reading)
        if asked.partition == "random":
            blocks = blocks | "Partition" >> PartitionRows(workers, asked.seed)
        return SourceRows(blocks, [unread | "Unread" >> AsRowErrors("read", job.job_dir)])


def dealt_whole(partition: str | None) -> bool:
    """Whether workers are dealt splits as they are, and no ranges of rows."""
    return partition not in ("contiguous", "proportional")


def _block_limits(
    sample: pa.RecordBatch | None, batch_size: int, prepared: bool, execution: Execution
) -> dict[str, Any]:
    if not prepared:
        # Decoded rows that stay in cache until they are scored, and pages that the next block uses again.
        return {"block_rows": PLAIN_BLOCK_ROWS, "block_bytes": 32 << 20}
    row_bytes = sample.nbytes // max(1, sample.num_rows) if sample is not None else PREPARED_BLOCK_BYTES // 8
    rows = max(1, PREPARED_BLOCK_BYTES // max(1, row_bytes))
    # Whole runs of the model, so that no run is left half empty at the end of each block.
    rows = max(batch_size, rows // batch_size * batch_size)
    if execution.overlap is not None:
        # So many micro-batches that the stages overlap for most of the time.
        wanted = batch_size * MICRO_BATCHES_A_STAGE * execution.overlap.stages
        rows = max(rows, min(wanted, max(1, SPLIT_BLOCK_BYTES // max(1, row_bytes)) // batch_size * batch_size))
    return {"block_rows": min(rows, 65_536), "block_bytes": 64 << 20}
