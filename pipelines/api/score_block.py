"""Planned steps over one block of rows, each of which is scored or has an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.pipelines.api.planned_steps import PlannedSteps
from beamsplit.transforms.block import data_columns, with_origin
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.elements.conform import conform
from beamsplit.transforms.elements.described import name_rows
from beamsplit.transforms.elements.run_steps import run_steps_on
from beamsplit.transforms.elements.tables import empty_block
from beamsplit.transforms.failures.row_error import RowError

BLOCK_ROWS, PREPARED_BLOCK_ROWS = 131_072, 1_024
"""Rows that the steps are given at once, without and with steps of `prepare`."""


def block_rows(steps: PlannedSteps) -> int:
    """How many rows the steps are given at once."""
    return PREPARED_BLOCK_ROWS if steps.steps[0][0] == "prepare" else BLOCK_ROWS


def score_block(
    steps: PlannedSteps, block: pa.RecordBatch, names: Sequence[str], unfit: Mapping[int, str] = {}
) -> tuple[pa.RecordBatch, np.ndarray[Any, Any], list[RowError]]:
    """(what comes out of a block, the positions of its rows, the errors, by position).

    Args:
        steps: planned for rows like these.
        block: with the columns of `steps.schema` at least.
        names: columns by which errors tell what row they are of; empty: all.
        unfit: position -> why a row cannot be scored, of those where that is known.

    Raises:
        UsageError: the block is of another schema.
    """
    fitting, wrong = conform(block, steps.schema)
    if unfit:
        fitting = drop_rows(fitting, [row - sum(w < row for w in wrong) for row in sorted(unfit) if row not in wrong])
        wrong = {**wrong, **unfit}
    rows = np.delete(np.arange(block.num_rows), sorted(wrong))
    made, failed = run_steps_on(steps.steps, with_origin(fitting, "", 0))
    errors = [RowError("", row, "read", reason) for row, reason in wrong.items()]
    errors += [error._replace(row=int(rows[error.row])) for error in failed]
    errors = sorted(name_rows(errors, block, names), key=lambda error: error.row)
    if not made.num_rows:
        return empty_block(steps.made), rows[:0], errors
    good = np.delete(np.arange(block.num_rows), [error.row for error in errors])
    return made.select(data_columns(made.schema)), good, errors
