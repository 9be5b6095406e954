"""Names beyond ASCII where the locale knows ASCII only: the commands as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests import onnx_models
from tests.command import lines, without_progress
from tests.onnx_models import save

ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def run(folder: Path, module: str, *options: str, **env: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command whose output is a pipe."""
    # Of the user's own: they would say otherwise what is tested here.
    inherited = {
        name: value for name, value in os.environ.items() if name[:3] not in ("LC_", "LAN") and name not in ASCII
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=600,
    )
    return done.returncode, done.stdout, without_progress(done.stderr)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`maße/mödell.onnx`, größe: [rows, 2] -> 尺寸: [rows, 2], and data for it; the second row of the CSV is bad."""
    folder = tmp_path / "maße"
    folder.mkdir()
    nodes = [onnx_models.helper.make_node("Sin", ["größe"], ["尺寸"])]
    save(onnx_models.build(nodes, [("größe", 1, ["n", 2])], [("尺寸", 1, ["n", 2])]), folder / "mödell.onnx")
    table = pa.table({"ключ": ["ä", "b"], "länge": ["0", "weiß"], "höhe": ["0", "1"]})
    pa.csv.write_csv(table, folder / "dätén.csv")
    pq.write_table(
        pa.table({"ключ": ["ä"], "länge": pa.array([0], "f4"), "höhe": pa.array([0], "f4")}), folder / "ß.parquet"
    )
    return folder


@pytest.mark.parametrize(
    "env", [ASCII, {"LANG": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}], ids=["told", "LANG=C", "POSIX"]
)
def test_names_are_utf8_where_the_locale_is_ascii(folder: Path, env: dict[str, str]):
    code, out, err = run(
        folder, "pipelines.score", "--model", "mödell.onnx", "--input", "dätén.csv", "--columns", "größe=länge,höhe",
        "--types", "länge:float,höhe:float", "--keep", "ключ", "--output", "aus/größen.jsonl",
        "--errors", "aus/féhler.jsonl", "--num_shards", "1", "--summary", "aus/übersicht.json", **env,
    )  # fmt: skip
    assert code == 0, err
    assert lines(folder / "aus" / "größen.jsonl") == [{"ключ": "ä", "尺寸": [0.0, 0.0]}]
    (error,) = lines(folder / "aus" / "féhler.jsonl")
    assert error["file"].endswith("dätén.csv") and "länge" in error["reason"]
    said = "aus/größen.jsonl" if env is not ASCII else r"aus/gr\xf6\xdfen.jsonl"
    assert said in out, "escaped where stdout is said to be ASCII"
    assert (folder / "aus" / "übersicht.json").exists()


def test_errors_name_what_they_mean_where_the_locale_is_ascii(folder: Path):
    code, out, err = run(
        folder, "pipelines.score", "--model", "mödell.onnx", "--input", "ß.parquet", "--columns", "größe=länge,tiefé",
        "--output", "aus.csv", **(ASCII | {"PYTHONIOENCODING": "utf-8"}),
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "tiefé" in err and err.startswith("error: ") and err.count("\n") == 1


def test_worker_processes_know_utf8_too(folder: Path):
    code, _, err = run(
        folder, "pipelines.score", "--model", "mödell.onnx", "--input", "ß.parquet", "--columns", "größe=länge,höhe",
        "--keep", "ключ", "--output", "größen.csv", "--num_shards", "1", "--quiet", "--worker_type", "process",
        "--workers", "2", **ASCII,
    )  # fmt: skip
    assert code == 0, err
    assert (folder / "größen.csv").read_text(encoding="utf-8") == '"ключ","尺寸"\n"ä","[0,0]"\n'


def test_plans_are_made_where_the_locale_is_ascii(folder: Path):
    code, out, err = run(
        folder, "pipelines.plan", "--model", "mödell.onnx", "--sample", "ß.parquet", "--columns", "größe=länge,höhe",
        "--stages", "1", "--output", "plän.json", **ASCII,
    )  # fmt: skip
    assert code == 0, err
    assert json.loads((folder / "plän.json").read_text())["outputs"] == ["尺寸"]
    assert out.isascii()
