"""`--max_failed`, `--errors` in other formats, and what a job tells of its failed rows, in each way to run it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import onnx_models
from tests.command import Command
from tests.onnx_models import save

ROWS = 400


@pytest.fixture
def picky(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """A model that fails for numbers from 10 on, and rows of which every 20th has one."""
    made = Command(tmp_path, capsys)
    made.model = save(onnx_models.picky(), tmp_path / "picky.onnx")
    numbers = np.arange(ROWS) % 10
    numbers[::20] = 10 + np.arange(ROWS // 20)
    made.table = pa.table({"id": np.arange(ROWS), "i": numbers})
    pq.write_table(made.table, made.data, row_group_size=50)
    return made


WAYS = {
    "threads": ("--workers", "2"),
    "one": ("--workers", "1"),
    "processes": ("--workers", "2", "--worker_type", "process"),
}


@pytest.mark.parametrize("errors", ["e.jsonl", "e.parquet", "e.csv", None])
@pytest.mark.parametrize("way", WAYS)
def test_reasons_are_counted_in_the_summary(picky: Command, way: str, errors: str | None):
    if way == "processes" and errors != "e.jsonl":
        return
    summary = picky.folder / "s.json"
    path = picky.folder / (errors or "none")
    given = ("--errors", path) if errors else ()
    code, out, err = picky.run(*WAYS[way], *given, "--summary", summary, "--keep", "id", columns=None)
    assert code == (0 if errors else 3)
    told = json.loads(summary.read_text())
    assert told["failed_by_stage"] == {"infer": 20} and told["rows_failed"] == 20
    (kind,) = told["failed_by_reason"]
    assert kind["rows"] == 20 and kind["stage"] == "infer" and "idx=N" in kind["reason"]
    assert "failed   20 in infer: " in out
    assert "NOTHING" not in err
    if errors == "e.parquet":
        assert pq.read_table(path)["row"].to_pylist() == list(range(0, ROWS, 20))
    elif errors == "e.csv":
        with open(path, newline="") as file:
            assert [int(row["row"]) for row in csv.DictReader(file)] == list(range(0, ROWS, 20))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", ["4.9%", "19", "0"])
def test_too_many_failures_end_the_job(picky: Command, way: str, limit: str):
    errors = picky.folder / "e.jsonl"
    errors.write_text("of an earlier job\n")
    code, out, err = picky.run(*WAYS[way], "--errors", errors, "--max_failed", limit, "--quiet", columns=None)
    assert (code, out) == (1, "") and err.count("\n") == 1, err
    assert err.startswith("error: the job failed, nothing was written: ")
    assert f"failed, more than --max_failed {limit} allows; most often, " in err and "in infer: " in err
    assert errors.read_text() == "of an earlier job\n"
    assert not picky.output.parent.exists() or picky.written() == []
    assert not [path for path in picky.folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("limit", ["5%", "20"])
def test_few_failures_do_not(picky: Command, limit: str):
    errors = picky.folder / "e.jsonl"
    assert picky.run("--errors", errors, "--max_failed", limit, "--quiet", "--keep", "id", columns=None)[0] == 0
    assert picky.rows().num_rows == ROWS - 20
    # Without a file for them it is no success, as ever.
    assert picky.run("--max_failed", limit, "--quiet", columns=None)[0] == 3


def test_a_job_of_which_all_rows_failed_says_so_last(picky: Command):
    pq.write_table(pa.table({"id": [1, 2], "i": [50, 51]}), picky.data)
    code, _, err = picky.run("--errors", picky.folder / "e.jsonl", "--quiet", columns=None)
    assert code == 0
    last = err.splitlines()[-1]
    assert last.startswith("NOTHING WAS SCORED: all 2 rows failed; most often, 2 in infer: ")
    code, _, err = picky.run(columns=None)
    assert code == 3 and err.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_failed", "x"], "'x' is neither a number of rows, such as 100, nor a share of them, such as 5%"),
        (["--max_failed", "120%"], "'120%' is neither a number of rows"),
        (
            ["--errors", "e.xlsx"],
            "--errors e.xlsx: the extension [.xlsx] names no format for errors; end the name in .jsonl",
        ),
    ],
)
def test_wrong_options(picky: Command, options: list[str], message: str):
    assert message in picky.error(*options, columns=None)


@pytest.mark.parametrize(
    "parts", [("--stages", "2"), ("--shards", "2"), ("--stages", "2", "--placement", "distributed")]
)
def test_failures_of_models_in_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str], parts: tuple[str, ...]):
    command = Command(tmp_path, capsys)
    values = command.table["a"].to_numpy().copy()
    values[7] = np.nan
    table = command.table.set_column(1, "a", pa.array(values, pa.float32(), mask=np.arange(len(values)) == 9))
    pq.write_table(table, command.data)
    summary = tmp_path / "s.json"
    options = (
        "--errors",
        tmp_path / "e.parquet",
        "--summary",
        summary,
        "--quiet",
        "--finish",
        "argmax",
        "--workers",
        "1",
    )
    assert command.run(*parts, *options)[0] == 0
    told = json.loads(summary.read_text())
    assert told["failed_by_stage"] == {"infer": 1, "finish": 1}
    assert {kind["reason"] for kind in told["failed_by_reason"]} >= {"nan in column 'y'"}
    assert sorted(pq.read_table(tmp_path / "e.parquet")["row"].to_pylist()) == [7, 9]
    code, _, err = command.run(*parts, *options, "--max_failed", "1")
    assert code == 1 and "2 of 600 rows (0.3%) failed, more than --max_failed 1 allows" in err
