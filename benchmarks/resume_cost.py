"""What keeping costs: CPU seconds of the same command with and without `--resume`, in turn."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import onnx_models
from tests.onnx_models import save

ROOT = Path(__file__).parents[1]
COLUMNS = 8


def compare(folder: Path, rows: int, runs: int) -> None:
    """Print the medians of each format of output."""
    save(onnx_models.mlp(COLUMNS, hidden=64, outputs=2), folder / "m.onnx")
    rng = np.random.default_rng(0)
    names = [f"c{number:02}" for number in range(COLUMNS)]
    columns = {name: rng.standard_normal(rows).astype(np.float32) for name in names}
    pq.write_table(pa.table({"id": np.arange(rows), **columns}), folder / "in.parquet", row_group_size=1 << 17)
    for output in ("p.parquet", "p-*.parquet", "p.csv"):
        spent: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(runs):
            for name, more in (("without", []), ("with", ["--resume"])):
                spent[name].append(_run(folder, f"{name}/{output}", names, more))
        without, kept = (float(np.median(spent[name])) for name in ("without", "with"))
        ratio = f"{kept / without:.2f}x"
        print(
            f"{output:<12} {rows:,} rows: {without:.2f} s of CPU without, {kept:.2f} s with --resume ({ratio})",
            flush=True,
        )


def _run(folder: Path, output: str, names: list[str], more: list[str]) -> float:
    given = ["--model", "m.onnx", "--input", "in.parquet", "--output", output, "--columns", f"x={','.join(names)}"]
    given += [
        "--keep",
        "id",
        "--workers",
        "2",
        "--worker_type",
        "thread",
        "--batch_size",
        "4096",
        "--overwrite",
        "--quiet",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "pipelines.score", *given, *more], cwd=folder, env=os.environ | path, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
