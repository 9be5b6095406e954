"""Which rows the model is run on: for the one line that is left to say where it does not return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.running.run_limit import context
from beamsplit.models.running.session import SessionOptions
from beamsplit.transforms.block import ORIGIN_FILE, origin_of


@dataclass(frozen=True)
class RunningRows:
    """A block that is being scored."""

    block: pa.RecordBatch
    job_dir: str | None
    """Folder that the job's local workers share; None on a cluster."""

    def describe(self, run: Any) -> str:
        """E.g. `row 7 of a.parquet`, `50 rows from row 0 of a.parquet to row 49 of a.parquet`."""
        if ORIGIN_FILE not in self.block.schema.names:
            return "sample rows"
        rows = np.arange(self.block.num_rows)
        rows = rows if run is None else rows[run]
        first, last = (origin_of(self.block, int(rows[at])) for at in (0, -1))
        if len(rows) == 1:
            return f"row {first[1]} of {first[0]}"
        return f"{len(rows)} rows from row {first[1]} of {first[0]} to row {last[1]} of {last[0]}"


def running(block: pa.RecordBatch, job_dir: str | None, options: SessionOptions) -> None:
    """Let what ends a run that does not return know the block that this thread scores next."""
    if options.run_timeout is not None:
        context.block, context.run = RunningRows(block, job_dir), None
