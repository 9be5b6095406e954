"""Daft on Delta tables, and on Parquet files at S3."""

from __future__ import annotations

import os
import sys

import daft
from daft import col
from daft.io import IOConfig, S3Config

from benchmarks.alternatives.daft_loop import Score


def score(lake: str, source: str, model: str, output: str) -> None:
    """Score every row and write the predictions."""
    s3 = S3Config(
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
        key_id=os.environ.get("AWS_ACCESS_KEY_ID"),
        access_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        region_name=os.environ.get("AWS_DEFAULT_REGION"),
        use_ssl=False,
    )
    config = IOConfig(s3=s3)
    frame = daft.read_deltalake(source) if lake == "delta" else daft.read_parquet(source, io_config=config)
    run = Score.with_init_args(model=model)
    scored = frame.select(run(*[col(name) for name in frame.column_names]).alias("y"))
    if lake == "delta":
        scored.write_deltalake(output)
    else:
        scored.write_parquet(output, io_config=config)


if __name__ == "__main__":
    score(*sys.argv[1:])
    # Daft's threads now and then crash the interpreter while it ends, with everything written.
    os._exit(0)
