"""How elements are scored: by steps planned when the pipeline is built, or by a scorer that plans on the worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.pipelines.api.planned_steps import PlannedSteps
from beamsplit.pipelines.api.score_block import block_rows, score_block
from beamsplit.pipelines.api.scorer import Scorer
from beamsplit.transforms.columns import describe, drop_rows
from beamsplit.transforms.elements.beam_types import LARGEST, row_of, too_large
from beamsplit.transforms.elements.conform import DoesNotFit
from beamsplit.transforms.elements.described import describe_values, each_row
from beamsplit.transforms.elements.scoring import ScoredElements, columns_of, names_of, value_of
from beamsplit.transforms.elements.tables import as_one_batch
from beamsplit.transforms.elements.values import block_of_rows, python_values
from beamsplit.transforms.failures.row_error import RowError

DICT, ROW = "dict", "row"
"""What a row comes out as."""


@dataclass(frozen=True)
class PlannedScoring:
    """By steps planned for the elements' schema."""

    steps: PlannedSteps
    keep: tuple[str, ...]
    """Columns of the output before those of the model, in their order."""

    form: str | None = None
    """What rows come out as, `DICT` or `ROW`; None: as what each came."""

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
        if self.form != DICT:
            made, good, errors = _within_beam(made, good, errors)
        columns = {name: python_values(column) for name, column in zip(made.schema.names, made.columns, strict=True)}
        for name in self.keep:
            if name not in columns:
                columns[name] = [value_of(rows[at], name) for at in good.tolist()]
        names = [*self.keep, *(name for name in made.schema.names if name not in self.keep)]
        return ScoredElements(
            _rows(columns, names, self.form or [_form(rows[at]) for at in good.tolist()]),
            good.tolist(),
            [error._replace(file=_described(rows[error.row], self.keep)) for error in errors],
        )

    def score_batch(self, batch: pa.RecordBatch | pa.Table) -> tuple[pa.RecordBatch | pa.Table, list[RowError]]:
        """Score a batch, in blocks that stay in cache."""
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        size = block_rows(self.steps)
        blocks, errors = [], []
        for first in range(0, table.num_rows, size):
            try:
                made, _, failed = score_block(self.steps, as_one_batch(table.slice(first, size)), self.keep)
            except DoesNotFit as error:
                return batch.slice(0, 0), each_row(batch, self.keep, str(error))
            blocks.append(made)
            errors += [error._replace(row=first + error.row) for error in failed]
        result = pa.Table.from_batches(blocks, schema=self.steps.made)
        return (result if isinstance(batch, pa.Table) else as_one_batch(result)), errors


@dataclass
class LazyScoring:
    """By a scorer that plans for the elements when they come: what they hold is not known before."""

    scorer: Scorer
    keep: tuple[str, ...]
    named: tuple[str, ...] = ()
    """Columns that batches must have."""

    prepared: bool = False
    """Whether steps of `prepare` may make them."""

    _told: bool = field(default=False, repr=False)

    def setup(self) -> None:
        """Nothing can be loaded before the first element tells what is wanted."""

    def score_rows(self, rows: Sequence[Any]) -> ScoredElements:
        """Score rows, each as what it is."""
        dicts = [row if isinstance(row, Mapping) else {n: value_of(row, n) for n in names_of(row)} for row in rows]
        self._tell_of_missing(dicts)
        made = self.scorer.score_rows(dicts)
        columns = made.python_values()
        good = np.delete(np.arange(len(rows)), [error.row for error in made.errors]).tolist()
        scored = _rows(columns, list(columns), DICT)
        if self.keep == ("*",):
            # What other rows of the bundle have is none of this one's.
            lacking = {name for name in columns if any(name in dicts[at] for at in good)}
            for at, one in zip(good, scored, strict=True):
                for name in lacking.difference(dicts[at]):
                    del one[name]
        scored = [
            one if isinstance(rows[at], Mapping) else row_of(tuple(one), one.values())
            for at, one in zip(good, scored, strict=True)
        ]
        return ScoredElements(scored, good, made.errors)

    def score_batch(self, batch: pa.RecordBatch | pa.Table) -> tuple[pa.RecordBatch | pa.Table, list[RowError]]:
        """Score a batch as what it is; one that has not the columns that are named is an error a row."""
        wrong = None if self.prepared else _unfit(batch, self.named)
        if wrong is not None:
            return batch.slice(0, 0), each_row(batch, self.keep, wrong)
        made = self.scorer(batch)
        return made.predictions, made.errors

    def _tell_of_missing(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Warn once of a column to keep that none of the first rows has: it is None in what comes out."""
        if self._told:
            return
        self._told = True
        missing = [name for name in self.keep if name != "*" and all(name not in row for row in rows)]
        if missing:
            names = list(dict.fromkeys(str(name) for row in rows for name in row))[:20]
            logging.getLogger(__name__).warning(
                "--keep names %s, which none of the first rows has; they have %s", ", ".join(missing), ", ".join(names)
            )


def _unfit(batch: pa.RecordBatch | pa.Table, named: Sequence[str]) -> str | None:
    """Why a batch cannot be read, whatever the model is."""
    names = batch.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"the rows have {names.count(twice)} columns {twice!r}; rename all but one of them"
    lacking = next((name for name in named if name not in names), None)
    return None if lacking is None else f"the rows have no column {lacking!r}; they have {describe(batch.schema)}"


def _within_beam(
    made: pa.RecordBatch, good: np.ndarray[Any, Any], errors: list[RowError]
) -> tuple[pa.RecordBatch, np.ndarray[Any, Any], list[RowError]]:
    """Rows with a number that rows of Beam's have no type for are errors."""
    for name, column in zip(made.schema.names, made.columns, strict=True):
        large = too_large(column)
        if large:
            reason = f"column {name!r} has a number above {LARGEST}, the largest of Beam's rows; give dicts"
            errors = [*errors, *(RowError("", int(good[row]), "finish", reason) for row in large)]
            return _within_beam(drop_rows(made, large), np.delete(good, large), errors)
    return made, good, errors


def _form(row: Any) -> str:
    return DICT if isinstance(row, Mapping) else ROW


def _rows(columns: Mapping[str, Sequence[Any]], names: Sequence[str], form: str | Sequence[str]) -> list[Any]:
    """Rows of columns of equal lengths, all of one form or each of its own."""
    values = zip(*(columns[name] for name in names), strict=True)
    if form == DICT:
        return [dict(zip(names, row, strict=True)) for row in values]
    if form == ROW:
        return [row_of(names, row) for row in values]
    return [
        dict(zip(names, row, strict=True)) if one == DICT else row_of(names, row)
        for row, one in zip(values, form, strict=True)
    ]


def _described(row: Any, keep: Sequence[str]) -> str:
    return describe_values({name: value_of(row, name) for name in keep or names_of(row)})
