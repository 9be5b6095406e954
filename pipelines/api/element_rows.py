"""Elements of somebody else's as what a model is planned for: a source of rows of one schema that is never read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import check_model_file
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.api.element_schema import signature_of_model
from beamsplit.pipelines.execution.ways import default_workers
from beamsplit.pipelines.execution.workers import Replicas, count_workers
from beamsplit.pipelines.job.made_up_columns import made_up
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import BindingOptions, SinkOptions, WorkerOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.bring_together import check_fit, fit_rows, prepared_columns
from beamsplit.pipelines.sources.sample import facts_of, prepare_sample, prepare_steps
from beamsplit.pipelines.sources.source import Source, SourceRows
from beamsplit.transforms.block import EVENT_TIME_FIELD, INTERNAL_COLUMNS, data_columns, with_origin, with_origin_schema
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.kafka.schema import UNKNOWN_SIZE, wanted_fields
from beamsplit.transforms.step import Step

if TYPE_CHECKING:
    import apache_beam as beam

    from beamsplit.pipelines.job.job import Job

SAMPLE_ROWS = 4_096
"""Most rows that a model is fitted to."""


@dataclass(frozen=True)
class ElementRows(Source):
    """Rows that whoever calls has: only brought together with the model."""

    schema: pa.Schema
    sample: pa.RecordBatch | None
    """A few rows of that schema; None or empty: rows are made up."""

    replicas: int | None
    """Workers that share this machine; None: as many as there are cores."""

    text_source: bool
    """Whether numbers with fractions have no declared width, as Python's own."""

    timed: bool = False
    """Whether rows of several elements are one block, and each is to have its own timestamp again."""

    planning: PlanningBudget = UNLIMITED
    """What runs of the model may take to bring them together with it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of the schema."""
        return tuple(self.schema.names)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing: no job is shown."""
        return {}

    def workers(self, asked: WorkerOptions, parallelism: Parallelism, local: bool) -> Replicas:
        """Those of the runner."""
        count = self.replicas if self.replicas is not None else default_workers(parallelism, asked.count)
        return count_workers(replace(asked, count=count), local)

    def within(self, budget: PlanningBudget) -> ElementRows:
        """With that for what runs of the model may take."""
        return replace(self, planning=budget)

    def rows_at_once(self, scoring: ScoringPlan, workers: int) -> int | None:
        """Of one run: how many come together is not known."""
        return scoring.batch_size

    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        """Bring rows given, or made up, together with the model.

        Raises:
            UsageError: they do not go together.
        """
        path = localize(binding.model)
        check_model_file(path)
        names = self.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"the rows have {names.count(twice)} columns {twice!r}; rename all but one of them")
        if few_runs:
            session = for_few_runs(session, path)
        read = with_origin_schema(self.schema)
        if self.timed:
            read = read.append(EVENT_TIME_FIELD)
        columns = prepared_columns(binding, prepare_steps(binding), self.schema, read)
        rows = self._rows(binding, read, columns.steps, columns.schema)
        fitted = fit_rows(path, session, columns, rows, facts_of(binding, self.text_source), self.planning)
        check_fit(binding, columns, fitted)
        return Bound(self.schema, columns.steps, columns.schema, fitted, rows=rows)

    def read(self, pipeline: beam.Pipeline, job: Job, hints: Mapping[str, str]) -> SourceRows:
        """Never: whoever calls has the rows."""
        raise NotImplementedError

    def _rows(
        self, binding: BindingOptions, read: pa.Schema, prepare: Sequence[Step], prepared: pa.Schema
    ) -> pa.RecordBatch:
        """Rows that reach the model: those given, or else made up."""
        if self.sample is not None and self.sample.num_rows:
            block = with_origin(self.sample.select(data_columns(read)).slice(0, SAMPLE_ROWS), "", 0)
            rows = prepare_sample(_with_missing(block, read), prepare, binding.prepare)
            if rows is not None:
                return rows
        # Rows that a step makes cannot be made up before it: no random bytes are an image.
        made = pa.schema([field for field in prepared if field.name not in INTERNAL_COLUMNS])
        block = with_origin(made_up(made, _sizes(binding)), "", 0)
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


def _sizes(binding: BindingOptions) -> dict[str, tuple[int, ...]]:
    """Column -> the sizes of its rows, where the model tells."""
    signature = signature_of_model(binding.model, frozenset(binding.set))
    fields = wanted_fields(signature, binding.columns, binding.set)
    return {
        name: tuple(size if isinstance(size, int) else UNKNOWN_SIZE for size in spec.shape)
        for name, spec in fields.items()
        if spec.shape is not None
    }
