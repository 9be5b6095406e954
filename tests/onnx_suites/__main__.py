"""`python -m tests.onnx_suites`: run every case, and write outcomes.json and the table in docs/models.md (minutes)."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from functools import partial
from pathlib import Path

from tests.onnx_suites import outcomes, table
from tests.onnx_suites.cases import SUITES, cases


def main() -> None:
    """Run all and write."""
    every = [case for suite in SUITES for case in cases(suite)]
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        told = pool.map(partial(outcomes.told_of, root=Path(folder)), every, chunksize=20)
    outcomes.write(told)
    table.write(outcomes.read().values())


if __name__ == "__main__":
    main()
