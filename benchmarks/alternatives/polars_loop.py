"""Polars: a lazy scan, `map_batches` with a session of one thread, `sink_parquet`, which streams."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import polars as pl

from benchmarks.alternatives.common import Job, features, parse

SCANS = {".parquet": pl.scan_parquet, ".csv": pl.scan_csv, ".jsonl": pl.scan_ndjson}


def table(job: Job) -> None:
    """Score every row and write the predictions."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(frame: pl.DataFrame) -> pl.DataFrame:
        x = frame.select(features(frame.columns)).to_numpy().astype(np.float32)
        return pl.DataFrame({"y": session.run(None, {name: x})[0][:, 0]})

    extension = next(one for one in job.source.suffixes if one in SCANS)
    scored = SCANS[extension](job.source).map_batches(run, streamable=True, schema={"y": pl.Float32})
    scored.sink_parquet(job.output)


if __name__ == "__main__":
    table(parse())
