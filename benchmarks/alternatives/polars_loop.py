"""Polars: a lazy scan, `map_batches` with a session of one thread, `sink_parquet`, which streams."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import polars as pl

from benchmarks.alternatives.common import Job, features, parse

SCANS = {".parquet": pl.scan_parquet, ".csv": pl.scan_csv, ".jsonl": pl.scan_ndjson}


def scored(rows: pl.LazyFrame, model: str) -> pl.LazyFrame:
    """The predictions of all rows, made as they are read."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    width = session.get_outputs()[0].shape[-1]
    kind = pl.Float32 if width == 1 else pl.Array(pl.Float32, width)

    def run(frame: pl.DataFrame) -> pl.DataFrame:
        x = frame.select(features(frame.columns)).to_numpy().astype(np.float32)
        scores = session.run(None, {name: x})[0]
        return pl.DataFrame({"y": scores[:, 0] if width == 1 else scores}, schema={"y": kind})

    return rows.map_batches(run, streamable=True, schema={"y": kind})


def table(job: Job) -> None:
    """Score every row and write the predictions."""
    extension = next(one for one in job.source.suffixes if one in SCANS)
    scored(SCANS[extension](job.source), str(job.model)).sink_parquet(job.output)


if __name__ == "__main__":
    table(parse())
