"""What failed is scored again: outputs and replays together hold each row once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.replay import main
from tests import onnx_models
from tests.command import Command
from tests.onnx_models import save

ROWS = 400
FAILING = [0, 7, 8, 9, 150, 151, 399]


@pytest.fixture
def failed(command: Command) -> Command:
    """A job of two files, of which the rows `FAILING` failed: they make the model fail, which other models take."""
    command.model = save(onnx_models.picky(10), command.folder / "picky.onnx")
    save(onnx_models.picky(1_000), command.folder / "other.onnx")
    values = np.where(np.isin(np.arange(ROWS), FAILING), 50, np.arange(ROWS) % 10)
    table = pa.table({"i": pa.array(values, pa.int64()), "id": np.arange(ROWS)})
    command.data = command.folder / "data"
    command.data.mkdir()
    pq.write_table(table.slice(0, 300), command.data / "a.parquet", row_group_size=100)
    pq.write_table(table.slice(300), command.data / "b.parquet", row_group_size=50)
    errors = command.folder / "errors.jsonl"
    code, _, err = command.run("--keep", "id", "--errors", errors, "--workers", "1", columns=None)
    assert code == 0, err
    return command


def replay(command: Command, *options: object) -> tuple[int, str]:
    given = [command.folder / "errors.jsonl", "--model", command.folder / "other.onnx", "--keep", "id"]
    given += ["--output", command.folder / "again.parquet", "--workers", "2", "--overwrite"]
    code = main([str(one) for one in (*given, *options)])
    return code, command.capsys.readouterr().err


def test_outputs_and_replays_hold_each_row_once(failed: Command):
    summary = failed.folder / "summary.json"
    assert replay(failed, "--summary", summary) == (0, "")
    again = pq.read_table(failed.folder / "again.parquet")
    assert again.schema.names == ["id", "y", "input_file", "input_row"]
    assert again["id"].to_pylist() == FAILING
    files = [str(failed.data / ("a.parquet" if row < 300 else "b.parquet")) for row in FAILING]
    assert again["input_file"].to_pylist() == files
    assert again["input_row"].to_pylist() == [row % 300 for row in FAILING]
    assert sorted([*failed.rows()["id"].to_pylist(), *again["id"].to_pylist()]) == list(range(ROWS))
    assert np.array_equal(again["y"].combine_chunks().to_numpy_ndarray(), [[100, 101]] * len(FAILING))
    assert json.loads(summary.read_text())["rows_in"] == len(FAILING)


def test_what_fails_again_is_an_error_again(failed: Command):
    errors = failed.folder / "still.jsonl"
    assert replay(failed, "--model", failed.model, "--errors", errors)[0] == 0
    assert errors.read_text() == (failed.folder / "errors.jsonl").read_text()
    assert pq.read_table(failed.folder / "again.parquet").num_rows == 0


def test_a_bad_line_is_read_again_when_it_is_mended(command: Command):
    lines = [json.dumps({"a": 1, "b": 2, "c": 3, "d": at, "id": at}) for at in range(50)]
    command.data = command.folder / "data.jsonl"
    command.data.write_text("\n\n".join([*lines[:20], '{"a": 1', *lines[21:]]) + "\n")
    errors = command.folder / "errors.jsonl"
    assert command.run("--keep", "id", "--errors", errors, "--workers", "1")[0] == 0
    command.data.write_text("\n\n".join(lines) + "\n")
    os.utime(command.data, (4e9, 4e9))
    given = [errors, "--model", command.model, "--columns", "x=a,b,c,d", "--keep", "id", "--workers", "1"]
    code = main([str(one) for one in (*given, "--output", command.folder / "again.parquet")])
    assert code == 0
    assert f"note: {command.data} changed since the errors were written (" in command.capsys.readouterr().err
    again = pq.read_table(command.folder / "again.parquet")
    assert (again["id"].to_pylist(), again["input_row"].to_pylist()) == ([20], [20])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--limit", "3"], "names the rows that are read, and --limit reads the first rows; leave one out"),
        (["--where", "id > 3"], "and --where chooses rows"),
        (["--resume"], "and --resume keeps splits of all rows"),
        (["--partition", "random"], "and --partition deals all rows"),
        (["--input", "data/a.parquet"], "data/b.parquet, which --input data/a.parquet does not read"),
        (["--input", "kafka://localhost:1/in"], "names no message of --input kafka://localhost:1/in"),
        (["--input", "delta:table"], "--input delta:table is neither"),
        (["--replay", "e.jsonl"], "--replay is"),
        (["--keep", "input_row"], "input_row"),
    ],
)
def test_what_it_does_not_go_with(failed: Command, options: list[str], told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(failed.folder)
    text = Path("errors.jsonl").read_text().replace(f"{failed.folder}/", "")
    Path("errors.jsonl").write_text(text)
    code, err = replay(failed, *options)
    assert code == 2 and told in err and err.count("\n") == 1, err
    assert not Path("again.parquet").exists()


def test_errors_that_name_nothing_or_what_is_elsewhere(failed: Command):
    errors = failed.folder / "errors.jsonl"
    errors.write_text("")
    assert replay(failed)[0] == 2
    errors.write_text('{"topic": "in", "partition": 0, "offset": 3, "stage": "read", "reason": "r"}\n')
    code, err = replay(failed)
    assert code == 2 and "names messages (in), and not where their topic is; type --input kafka://HOST:PORT/in" in err
    code, err = replay(failed, "--input", failed.data)
    assert code == 2 and "names messages (in), and --input" in err
    _, err = replay(failed, "--log_format", "json")
    assert json.loads(err)["event"] == "error" and "names messages" in json.loads(err)["message"]
    _, err = replay(failed, "--log_format", "json", "--input", failed.data)
    assert json.loads(err)["event"] == "error" and "names messages" in json.loads(err)["message"]
    assert main([]) == 2 and main(["--help"]) == 0
    assert "usage: " in failed.capsys.readouterr().out


def test_as_a_process_of_its_own_it_says_no_more_than_score(failed: Command):
    argv = [sys.executable, "-m", "pipelines.replay", "errors.jsonl", "--model", "other.onnx", "--output", "again.csv"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*argv, "--quiet"], cwd=failed.folder, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
