"""Whether the first messages of a stream all failed, found by the workers and noted in the job's folder. No Beam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.worker import read_counts

if TYPE_CHECKING:
    from beamsplit.transforms.failures.row_error import RowError

FIRST = 1_000
"""Messages that fail before any is done: then something is wrong with the command, not with the messages."""

_NOTE = "all-failed"

_SETTLED: set[str] = set()
"""Folders of jobs of which it is known."""


def note_failures(job_dir: str, block: pa.RecordBatch, errors: Sequence[RowError], left: int, first_step: bool) -> None:
    """Note it, if this block's failures are the last of the first `FIRST` messages and none was done.

    Args:
        job_dir: folder that local workers share.
        block: what a step was given.
        errors: its rows that failed, in their order; they are counted already.
        left: how many rows the step gave on.
        first_step: whether the block has all rows that were read.
    """
    if job_dir in _SETTLED or (left and not first_step):
        return
    counts = read_counts(job_dir)
    if any(done for done, _ in counts):
        _SETTLED.add(job_dir)
        return
    # Rows that are left may still fail, in a later step, or be done: only those before the first of them count.
    first = leading(block, errors) if left else len(errors)
    if sum(failed for _, failed in counts) - len(errors) + first >= FIRST:
        _SETTLED.add(job_dir)
        Path(job_dir, _NOTE).touch()


def leading(block: pa.RecordBatch, errors: Sequence[RowError]) -> int:
    """How many rows of a block failed before the first that did not."""
    files, rows = block.column(ORIGIN_FILE), block.column(ORIGIN_ROW)
    for at, error in enumerate(errors):
        if (files[at].as_py(), rows[at].as_py()) != (error.file, error.row):
            return at
    return len(errors)


def all_failed(job_dir: str) -> bool:
    """Whether it was noted."""
    return Path(job_dir, _NOTE).exists()
