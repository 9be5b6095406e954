"""A row fails as a whole: what `augment` made of it does not go on where one of its copies failed.

rows     r0 r0 r1 r1          r0
copies    0  1  0  1    ->     0  1     errors: r1, once
scores    ok ok ok nan        ok ok
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beamsplit.transforms.block import COPY, ORIGIN_FILE, Origin, origin_of
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.step import RowFailure, StepResult


def whole_rows(block: pa.RecordBatch, result: StepResult) -> StepResult:
    """What a step made of a block, without the other copies of rows that failed, each of which is told once.

    Args:
        block: that the step was given.
        result: what it made of it.
    """
    if not result.failures or COPY not in block.schema.names or ORIGIN_FILE not in block.schema.names:
        return result
    failed: dict[Origin, RowFailure] = {}
    for failure in result.failures:
        failed.setdefault(origin_of(block, failure.row), failure)
    made = result.block
    beside = [row for row in range(made.num_rows) if origin_of(made, row) in failed]
    return replace(result, block=drop_rows(made, beside), failures=list(failed.values()))
