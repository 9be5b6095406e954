"""PyArrow leaves pandas out where no function of the user's own could want it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.command import Command

ROOT = Path(__file__).parents[2]

TELLS = """\
import os, sys
with open(os.environ["TOLD"], "a") as told:
    told.write("imported\\n")
__version__ = "0.1"
"""


def score(command: Command, folder: Path, *options: str) -> list[str]:
    """What a pandas that is installed tells when the command runs in a process of its own."""
    (folder / "pandas.py").write_text(TELLS)
    told = folder / "told"
    told.touch()
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "TOLD": str(told)}
    argv = [sys.executable, "-m", "pipelines.score", "--model", command.model, "--input", str(command.data)]
    argv += ["--output", str(command.output), "--columns", "x=a,b,c,d", "--quiet", *options]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return told.read_text().splitlines()


def test_no_process_of_a_job_imports_pandas(command: Command, tmp_path: Path):
    assert score(command, tmp_path, "--workers", "2", "--worker_type", "process") == []


def test_arrays_of_pandas_are_known_once_a_function_was_loaded():
    code = """
from beamsplit.runners.without_pandas import leave_pandas_out
leave_pandas_out()
import pyarrow as pa, sys
pa.array([1])
assert "pandas" not in sys.modules
from beamsplit.transforms.user_function import load_function
load_function("json:loads")
import pandas as pd
print(pa.array(pd.Series([1.0, None])).null_count, pa.table({"a": [1]}).to_pandas().shape)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.split("\n")[0] == "1 (1, 1)", done.stderr
