"""How elements are scored: by steps planned when the pipeline is built, or by a scorer that plans on the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beamsplit.pipelines.api.planned_steps import PlannedSteps
from beamsplit.pipelines.api.scorer import BLOCK_ROWS, PREPARED_BLOCK_ROWS, Scorer, score_block
from beamsplit.transforms.elements.described import describe_values
from beamsplit.transforms.elements.scoring import ScoredElements, columns_of, names_of, value_of
from beamsplit.transforms.elements.tables import as_one_batch
from beamsplit.transforms.elements.values import block_of_rows, python_values
from beamsplit.transforms.failures.row_error import RowError


@dataclass(frozen=True)
class PlannedScoring:
    """By steps planned for the elements' schema."""

    steps: PlannedSteps
    keep: tuple[str, ...]
    """Columns of the output before those of the model, in their order."""

    as_dicts: bool = False
    """Whether rows come out as dicts, else as `beam.Row`."""

    def setup(self) -> None:
        """Load the model."""
        for _, step in self.steps.steps:
            setup = getattr(step, "setup", None)
            if setup is not None:
                setup()

    def score_rows(self, rows: Sequence[Any]) -> ScoredElements:
        """Score rows; `keep` columns that no step reads are the elements' own values."""
        schema = self.steps.schema
        block, wrong = block_of_rows(columns_of(rows, schema.names), schema)
        made, good, errors = score_block(self.steps, block, (), wrong)
        columns = {name: python_values(column) for name, column in zip(made.schema.names, made.columns, strict=True)}
        for name in self.keep:
            if name not in columns:
                columns[name] = [value_of(rows[at], name) for at in good.tolist()]
        names = [*self.keep, *(name for name in made.schema.names if name not in self.keep)]
        # Of a collection of any type, dicts come out as dicts too.
        as_dicts = self.as_dicts or isinstance(rows[0], Mapping)
        return ScoredElements(
            _rows(columns, names, as_dicts),
            good.tolist(),
            [error._replace(file=_described(rows[error.row], self.keep)) for error in errors],
        )

    def score_batch(self, batch: pa.RecordBatch | pa.Table) -> tuple[pa.RecordBatch | pa.Table, list[RowError]]:
        """Score a batch, in blocks that stay in cache."""
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        size = PREPARED_BLOCK_ROWS if self.steps.steps[0][0] == "prepare" else BLOCK_ROWS
        blocks, errors = [], []
        for first in range(0, table.num_rows, size):
            made, _, failed = score_block(self.steps, as_one_batch(table.slice(first, size)), self.keep)
            blocks.append(made)
            errors += [error._replace(row=first + error.row) for error in failed]
        result = pa.Table.from_batches(blocks, schema=self.steps.made)
        return (result if isinstance(batch, pa.Table) else as_one_batch(result)), errors


@dataclass
class LazyScoring:
    """By a scorer that plans for the elements when they come: what they hold is not known before."""

    scorer: Scorer
    keep: tuple[str, ...]
    _locals: dict[str, Any] = field(default_factory=dict, repr=False)

    def setup(self) -> None:
        """Nothing can be loaded before the first element tells what is wanted."""

    def score_rows(self, rows: Sequence[Any]) -> ScoredElements:
        """Score rows, each as what it is."""
        dicts = [row if isinstance(row, Mapping) else {n: value_of(row, n) for n in names_of(row)} for row in rows]
        made = self.scorer.score_rows(dicts)
        columns = made.python_values()
        good = np.delete(np.arange(len(rows)), [error.row for error in made.errors]).tolist()
        as_dicts = isinstance(rows[0], Mapping)
        return ScoredElements(_rows(columns, list(columns), as_dicts), good, made.errors)

    def score_batch(self, batch: pa.RecordBatch | pa.Table) -> tuple[pa.RecordBatch | pa.Table, list[RowError]]:
        """Score a batch as what it is."""
        made = self.scorer(batch)
        return made.predictions, made.errors


def _rows(columns: Mapping[str, Sequence[Any]], names: Sequence[str], as_dicts: bool) -> list[Any]:
    values = zip(*(columns[name] for name in names), strict=True)
    if as_dicts:
        return [dict(zip(names, row, strict=True)) for row in values]
    return [beam.Row(**dict(zip(names, row, strict=True))) for row in values]


def _described(row: Any, keep: Sequence[str]) -> str:
    return describe_values({name: value_of(row, name) for name in keep or names_of(row)})
