"""Inputs of `benchmarks.batch` that are no files of this machine: a Delta table, and files at moto's S3."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

BUCKET = "bench"
DEADLINE = 120
"""Seconds that a server has to answer."""


def delta_table(parquet: Path) -> Path:
    """The rows of a Parquet file as a Delta table beside it, of files of 1M rows."""
    from deltalake import write_deltalake

    path = parquet.with_suffix(".delta")
    if not path.exists():
        with pq.ParquetFile(parquet) as file:
            for group in range(file.num_row_groups):
                write_deltalake(path, file.read_row_group(group), mode="append")
    return path


@contextlib.contextmanager
def s3_server() -> Iterator[Any]:
    """Moto's S3 in a process of its own; gives its file system, by which it is filled. The environment names it."""
    import s3fs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, server)
        fs = s3fs.S3FileSystem(use_listings_cache=False)
        fs.mkdir(BUCKET)
        yield fs
    finally:
        server.terminate()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("moto's server does not start: pip install 'moto[server,s3]'")
