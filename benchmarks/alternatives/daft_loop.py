"""Daft: read_parquet, a batch UDF class that holds the session, write_parquet."""

from __future__ import annotations

import os

import daft
import numpy as np
import onnxruntime as ort
from daft import DataType, Series, col

from benchmarks.alternatives.common import Job, parse


@daft.udf(return_dtype=DataType.float32())
class Score:
    """Runs the model on the columns of a batch."""

    def __init__(self, model: str):
        """Load the model, once a worker."""
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def __call__(self, *columns: Series) -> np.ndarray:
        """Stack the columns and run."""
        x = np.column_stack([column.to_arrow().to_numpy() for column in columns])
        return self.session.run(None, {self.name: x})[0][:, 0]


def table(job: Job) -> None:
    """Score every row and write the predictions."""
    frame = daft.read_parquet(str(job.source))
    score = Score.with_init_args(model=str(job.model))
    frame.select(score(*[col(name) for name in frame.column_names]).alias("y")).write_parquet(str(job.output))


if __name__ == "__main__":
    wanted = parse()
    table(wanted)
    # Daft's threads now and then crash the interpreter while it ends, with everything written.
    os._exit(0)
