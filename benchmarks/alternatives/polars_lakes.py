"""Polars on Delta tables, and on Parquet files at S3."""

from __future__ import annotations

import os
import sys

import polars as pl

from benchmarks.alternatives.polars_loop import scored


def score(lake: str, source: str, model: str, output: str) -> None:
    """Score every row and write the predictions."""
    if lake == "delta":
        scored(pl.scan_delta(source), model).sink_delta(output)
        return
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    s3 = {name.lower(): os.environ[name] for name in names} | {"aws_allow_http": "true"}
    scored(pl.scan_parquet(source, storage_options=s3), model).sink_parquet(f"{output}out.parquet", storage_options=s3)


if __name__ == "__main__":
    score(*sys.argv[1:])
