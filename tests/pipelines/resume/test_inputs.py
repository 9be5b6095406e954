"""Every kind of input, in turn to every format of output: killed with -9 at a split, and gone on with."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import pytest

from beamsplit.pipelines.score import main
from tests.killed_job import kill_at
from tests.pipelines.resume.contents import content
from tests.resume_inputs import INPUTS, iceberg_environment, models

OUTPUTS = ("p.parquet", "p.csv", "p.jsonl", "p.json", "p.avro", "p.orc", "p-*.csv", "out.d/")
CASES = list(zip(INPUTS, cycle(OUTPUTS), cycle(["written", "begun"]), strict=False))


@pytest.mark.parametrize(("name", "output", "moment"), CASES)
def test_what_was_killed_goes_on(name: str, output: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    of, environment = INPUTS[name], {}
    if name == "iceberg":
        environment = iceberg_environment(tmp_path)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        from pyiceberg.utils.config import Config

        # Which is read once, where pyiceberg is imported.
        monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    models(tmp_path)
    source = of.make(tmp_path)
    given = ["--input", source, *of.options, "--errors", "e.jsonl", "--workers", "2", "--worker_type", "thread"]
    given += ["--batch_size", "64", "--overwrite", "--resume", "--quiet", "--summary", "s.json"]
    assert main([*given, "--output", f"whole/{output}"]) == 0
    undisturbed, errors = json.loads(Path("s.json").read_text()), Path("e.jsonl").read_bytes()
    assert undisturbed["rows_in"] == of.rows and 0 < undisturbed["rows_failed"] < of.rows / 8
    assert undisturbed["resumed"]["of_splits"] >= 12
    Path("e.jsonl").unlink()

    kill_at(moment, 5, tmp_path, [*given, "--output", f"out/{output}"], **environment)
    done = len(list(tmp_path.glob("out/**/.*-resume/done-*")))
    assert done >= 3
    assert main([*given, "--output", f"out/{output}"]) == 0
    summary = json.loads(Path("s.json").read_text())
    assert summary["resumed"]["splits"] == done and summary["resumed"]["scored_again"] <= 2
    for what in ("rows_in", "rows_scored", "rows_failed", "failed_by_reason"):
        assert summary[what] == undisturbed[what], what
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert Path("e.jsonl").read_bytes() == errors
