"""Tables as what a job with `--resume` writes: its rows are in the table once, wherever it was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.config import Config

from beamsplit.pipelines.score import main
from beamsplit.transforms.tables.delta_write import DeltaCommit
from tests.killed_job import kill_at
from tests.resume_inputs import INPUTS, TABLE, iceberg_environment, iceberg_properties, models

FAILED = 25
OUTPUTS = {"delta": "delta:out/preds", "iceberg": "iceberg://local/db.preds", "lance": "lance:out/preds"}


class TableJob:
    """`score` of 12 files to a table, in a folder of its own."""

    def __init__(self, system: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.system, self.folder, self.capsys = system, folder, capsys
        models(folder)
        INPUTS["parquet"].make(folder)
        self.environment = iceberg_environment(folder)

    def argv(self, *options: str) -> list[str]:
        given = ["--input", "in", *TABLE, "--output", OUTPUTS[self.system], "--errors", "e.jsonl", "--batch_size", "64"]
        return [*given, "--workers", "2", "--worker_type", "thread", "--resume", "--summary", "s.json", *options]

    def run(self, *options: str, code: int = 0) -> tuple[dict[str, Any], str]:
        """(summary, stderr)."""
        found = main(self.argv(*options))
        err = self.capsys.readouterr().err
        assert found == code, err
        return json.loads(Path("s.json").read_text()) if not code else {}, err

    def kill(self, moment: str, count: int, *options: str) -> None:
        kill_at(moment, count, self.folder, self.argv(*options), **self.environment)

    def rows(self) -> pa.Table:
        if self.system == "delta":
            return pa.table(DeltaTable("out/preds").to_pyarrow_table()).sort_by("id")
        if self.system == "lance":
            return lance.dataset("out/preds").to_table()
        return load_catalog("local", **iceberg_properties(self.folder)).load_table("db.preds").scan().to_arrow()

    def commits(self) -> int:
        if self.system == "delta":
            return DeltaTable("out/preds").version() + 1
        if self.system == "lance":
            return int(lance.dataset("out/preds").version)
        return len(load_catalog("local", **iceberg_properties(self.folder)).load_table("db.preds").snapshots())

    def left(self) -> list[str]:
        """Files that are none of the table's."""
        found = [path for path in self.folder.rglob("part-*-of-*") if path.is_file()]
        if self.system == "delta":
            known = {Path(path).name for path in DeltaTable("out/preds").file_uris()}
        elif self.system == "lance":
            parts = lance.dataset("out/preds").get_fragments()
            known = {file.path for part in parts for file in part.metadata.files}
        else:
            table = load_catalog("local", **iceberg_properties(self.folder)).load_table("db.preds")
            known = {Path(path).name for path in table.inspect.all_data_files()["file_path"].to_pylist()}
        hidden = [path.name for path in self.folder.rglob(".part-*")]
        return [path.name for path in found if path.name not in known] + hidden


@pytest.fixture
def table_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], TableJob]:
    monkeypatch.chdir(tmp_path)
    for key, value in iceberg_environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    # Which is read once, where pyiceberg is imported.
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    load_catalog("local").create_namespace("db")
    return lambda system: TableJob(system, tmp_path, capsys)


KILLS = [
    ("delta", "written", 5, 5),
    ("delta", "all done", 0, 12),
    ("delta", "committed to delta", 0, 12),
    ("delta", "over", 0, 12),
    ("iceberg", "written", 5, 5),
    ("iceberg", "committed to iceberg", 0, 12),
    ("iceberg", "over", 0, 12),
    ("lance", "written", 5, 5),
    ("lance", "committed to lance", 0, 12),
    ("lance", "over", 0, 12),
]


@pytest.mark.parametrize(("system", "moment", "count", "done"), KILLS)
def test_a_table_has_the_rows_once(
    table_job: Callable[[str], TableJob], system: str, moment: str, count: int, done: int
):
    job = table_job(system)
    job.kill(moment, count)
    summary, _ = job.run()
    assert summary["resumed"]["splits"] == done and summary["resumed"]["of_splits"] == 12
    assert (summary["rows_in"], summary["rows_failed"]) == (24000, FAILED)
    assert len(Path("e.jsonl").read_text().splitlines()) == FAILED
    rows = job.rows()
    assert job.commits() == 1 and rows.num_rows == 24000 - FAILED
    assert sorted(rows["id"].to_pylist()) == [row for row in range(24000) if row % 997]
    assert job.left() == []
    # And once more where it is another job.
    Path("e.jsonl").unlink()
    summary, _ = job.run("--append")
    assert summary["resumed"]["splits"] == 0
    assert job.commits() == 2 and job.rows().num_rows == 2 * (24000 - FAILED)


@pytest.mark.parametrize("moment", ["written", "committed to delta", "over"])
def test_rows_are_merged_once(table_job: Callable[[str], TableJob], moment: str):
    job = table_job("delta")
    job.run()
    before = job.rows()
    Path("e.jsonl").unlink()
    job.kill(moment, 2 if moment == "written" else 0, "--merge_on", "id")
    job.run("--merge_on", "id")
    assert job.rows().equals(before) and job.commits() == 2
    assert not list(job.folder.rglob(".part-*"))


def test_a_commit_that_failed_is_tried_again_with_the_files(
    table_job: Callable[[str], TableJob], monkeypatch: pytest.MonkeyPatch
):
    job = table_job("delta")

    def fail(*_: object) -> None:
        raise OSError("the log cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaCommit, "_add", fail)
        _, err = job.run(code=1)
    assert "the same command goes on there" in err and "the log cannot be written" in err
    summary, _ = job.run()
    assert summary["resumed"]["splits"] == 12 and job.rows().num_rows == 24000 - FAILED and job.left() == []


def test_a_table_that_has_other_columns_by_now_is_another_job(table_job: Callable[[str], TableJob]):
    job = table_job("delta")
    job.run()
    Path("e.jsonl").unlink()
    job.kill("written", 5, "--append")
    empty = job.rows().slice(0, 0)
    write_deltalake(
        "out/preds", empty.append_column("more", pa.array([], pa.int64())), mode="append", schema_mode="merge"
    )
    _, err = job.run("--append", code=2)
    assert "more" in err and err.count("\n") == 1
    DeltaTable("out/preds").restore(0)
    summary, _ = job.run("--append")
    assert summary["resumed"]["splits"] == 5 and job.rows().num_rows == 2 * (24000 - FAILED)


def test_a_run_without_clears_what_is_left(table_job: Callable[[str], TableJob]):
    job = table_job("delta")
    job.kill("written", 5)
    assert main([one for one in job.argv() if one != "--resume"]) == 0
    assert "what a job with --resume had finished of this output is removed" in job.capsys.readouterr().err
    assert job.left() == [] and job.rows().num_rows == 24000 - FAILED
