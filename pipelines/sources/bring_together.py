"""The order in which rows and a model are brought together, whatever the rows come from.

columns -> names, depths -> nulls filled, prepared -> keep is there -> sample rows -> fit -> checked beside the data
           `prepared_columns`                                          of the source  `fit_rows`  `check_fit`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.session import SessionOptions
from beamsplit.pipelines.job.columns import check_depths, check_keep, check_names, check_outputs
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.fill_nulls import check_nulls, fill_nulls
from beamsplit.transforms.infer.running_rows import running
from beamsplit.transforms.step import Step


class PreparedColumns(NamedTuple):
    """Columns of a source, as they reach the model."""

    steps: tuple[Step, ...]
    """What makes them of those that are read."""

    schema: pa.Schema


def prepared_columns(
    binding: BindingOptions, steps: Sequence[Step], schema: pa.Schema, read: pa.Schema, as_text: bool = False
) -> PreparedColumns:
    """Check the columns of a source, and prepare them.

    Args:
        binding: with what is kept, and what is fed for nulls.
        steps: of `--prepare`.
        schema: of the data.
        read: the same with what rows carry along: their origin, or what a message has.
        as_text: whether a column can be read as text instead.

    Raises:
        UsageError: a name is ours, a column too deep, or a column to keep is not there.
    """
    check_names(schema)
    check_depths(schema, as_text)
    filled = fill_nulls(steps, read, binding.nulls)
    prepared = chain_schema(filled, read)
    check_keep(binding.keep, prepared)
    return PreparedColumns(filled, prepared)


def fit_rows(
    path: str,
    session: SessionOptions,
    columns: PreparedColumns,
    rows: pa.RecordBatch | None,
    facts: DataFacts,
    budget: PlanningBudget = UNLIMITED,
) -> Fit:
    """Bring prepared rows and the model together.

    Raises:
        UsageError: the model does not take them.
    """
    if rows is not None:
        running(rows, None, session)
    try:
        return fit(path, session, columns.schema, rows, facts, budget)
    finally:
        context.block = None


def check_fit(binding: BindingOptions, columns: PreparedColumns, fitted: Fit) -> None:
    """Look at what only the fitted model tells: which columns are read, and what comes out.

    Raises:
        UsageError: nulls of a column that nothing reads are filled, or a kept column is called as an output.
    """
    check_nulls(binding.nulls, columns.steps, fitted.plan.binding.columns, columns.schema)
    check_outputs(binding.keep, [column.name for column in fitted.plan.outputs])
