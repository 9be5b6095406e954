"""Batch jobs on a real Flink: the same rows as the in-process run, embedded and on a session cluster."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.onnx_models import save

FLINK = ("--runner", "FlinkRunner", "--parallelism", "2")


def picky(command: Command) -> dict[str, object]:
    """A job of 1,200 rows, of which every sixth fails in the model."""
    numbers = [k % 12 for k in range(1200)]
    table = write_table(command.folder / "picky.parquet", id=list(range(1200)), i=pa.array(numbers, pa.int64()))
    model = save(onnx_models.picky(10), command.folder / "picky.onnx")
    return {"model": model, "input": table, "columns": None}


def run(command: Command, name: str, *options: object) -> tuple[pa.Table, list[object], dict[str, object]]:
    """(rows by id, errors by row, summary)."""
    command.output = command.folder / name / "preds.parquet"
    errors, summary = command.folder / name / "errors.jsonl", command.folder / name / "summary.json"
    given = ("--keep", "id", "--errors", errors, "--summary", summary, "--num_shards", "1", *options)
    code, _, err = command.run(*given, **picky(command), output=command.output)
    assert code == 0, err
    assert [path.name for path in errors.parent.glob(".*")] == []
    return command.rows(), sorted(lines(errors), key=lambda error: error["row"]), json.loads(summary.read_text())


@pytest.mark.parametrize("where", ["embedded", "session"])
def test_the_same_rows_and_errors_as_in_process(where: str, command: Command, request, monkeypatch, tmp_path: Path):
    options: tuple[object, ...] = FLINK
    if where == "session":
        options += ("--flink_master", request.getfixturevalue("cluster").address)
    else:
        request.getfixturevalue("services")
        # A `python` that is not ours comes first, which starts no worker.
        wrong = tmp_path / "wrong" / "python"
        wrong.parent.mkdir()
        wrong.write_text("#!/bin/sh\nexit 1\n")
        wrong.chmod(0o755)
        monkeypatch.setenv("PATH", str(wrong.parent), prepend=":")
    rows, errors, summary = run(command, "flink", *options)
    expected_rows, expected_errors, expected = run(command, "direct", "--workers", "1")
    assert rows.equals(expected_rows) and rows.num_rows == 1000
    assert errors == expected_errors and len(errors) == 200
    assert [summary[key] for key in ("rows_in", "rows_scored", "rows_failed")] == [1200, 1000, 200]
    assert sum(summary["worker_rows"]) == 1000 and summary["stage_seconds"].keys() == expected["stage_seconds"].keys()
    assert summary["metrics"]["num_inferences"] == expected["metrics"]["num_inferences"]


def test_a_worker_that_cannot_start_fails_the_job_with_its_log(services, command: Command, monkeypatch, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    script = (
        "import os, sys\nif 'WORKER_ID' in os.environ:\n    print('no such GPU', file=sys.stderr)\n    os._exit(7)\n"
    )
    (broken / "sitecustomize.py").write_text(script)
    monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
    code, out, err = command.run("--quiet", *FLINK)
    assert code == 1 and out == ""
    assert re.search(
        r"the job's workers cannot start: worker-1-\d ended at its start: no such GPU", err.splitlines()[-1]
    )
    assert not list(command.output.parent.glob(".*"))


def test_a_cluster_that_is_not_there_is_a_wrong_use(services, command: Command):
    err = command.error("--runner", "FlinkRunner", "--flink_master", "127.0.0.1:1")
    assert err.startswith("--flink_master 127.0.0.1:1 does not answer as Flink's REST service")
    assert "python -m runners.local up --flink" in err
