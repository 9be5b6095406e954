"""All steps of a job over one block, one behind the other, in this thread. No Beam."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.copies import whole_rows
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.step import Step


def run_steps_on(steps: Sequence[tuple[str, Step]], block: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RowError]]:
    """(the rows that went through all steps, those that did not).

    Args:
        steps: (stage, step), the stage one of `read`, `prepare`, `infer` and `finish`.
        block: rows whose origin is their position, by which the errors name them.
    """
    errors: list[RowError] = []
    for stage, step in steps:
        result = whole_rows(block, step(block))
        for row, reason in result.failures:
            part = result.parts.get(row)
            number = block.column(ORIGIN_ROW)[row].as_py()
            errors.append(RowError("", number, f"{stage}: {part}" if part else stage, reason))
        block = result.block
        if not block.num_rows:
            break
    return block, errors
