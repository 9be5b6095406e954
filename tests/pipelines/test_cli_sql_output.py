"""`--output sqlite:PATH#table`, against real files of SQLite."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.transforms.sql.database import Database
from beamsplit.transforms.sql.records import Aside, TableRefused
from beamsplit.transforms.sql.sqlite_write import SqliteStage
from tests.command import ROWS, Command, lines

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.fixture
def path(command: Command) -> Path:
    command.overwrite = False
    return command.folder / "db" / "a.db"


@pytest.fixture(autouse=True)
def folder(path: Path) -> None:
    path.parent.mkdir()


def run(command: Command, path: Path, *options: object, code: int = 0, table: str = "preds", **changed: object) -> str:
    got, _, err = command.run(*GIVEN, *options, output=f"sqlite:{path}#{table}", **changed)
    assert got == code, err
    return err


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        found = db.execute(sql).fetchall()
    db.close()
    return found


def ids(path: Path) -> list[int]:
    return [row[0] for row in ask(path, "SELECT id FROM preds ORDER BY id")]


def test_a_table_is_made_added_to_replaced_and_merged(command: Command, path: Path):
    run(command, path)
    assert ids(path) == list(range(ROWS))
    command.run(*GIVEN, "--overwrite")
    made = [json.loads(row[0]) for row in ask(path, "SELECT y FROM preds ORDER BY id")]
    expected = pa.array(command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist(), pa.list_(pa.float32()))
    assert pa.array(made, pa.list_(pa.float32())).equals(expected)
    assert "is there already; add --append to add the rows" in run(command, path, code=2)
    code, out, _ = command.run(*GIVEN[:-1], "--dry_run_plan", output=f"sqlite:{path}#preds")
    assert code == 0 and "is there already: to run this, add --append" in out
    run(command, path, "--append", "--where", "id < 10")
    assert len(ids(path)) == ROWS + 10
    run(command, path, "--overwrite", "--where", "id < 20")
    assert ids(path) == list(range(20))
    before = ask(path, "SELECT y FROM preds WHERE id < 10 ORDER BY id")
    twice = command.table.set_column(1, "a", pa.array(command.table["a"].to_numpy() * 2))
    pq.write_table(twice, command.folder / "twice.parquet")
    run(command, path, "--merge_on", "id", "--where", "id between 10 and 29", input=command.folder / "twice.parquet")
    assert ids(path) == list(range(30)) and ask(path, "SELECT y FROM preds WHERE id < 10 ORDER BY id") == before
    run(command, path, "--append", "--where", "id < 0")
    assert len(ids(path)) == 30
    assert [name.name for name in path.parent.iterdir()] == ["a.db"]


def test_a_job_that_is_run_again_writes_once(command: Command, path: Path):
    for _ in range(2):
        code, _, err = command.run(*GIVEN[:-1], "--append", "--commit_id", "n-1", output=f"sqlite:{path}#preds")
        assert code == 0, err
        assert len(ids(path)) == ROWS
    assert "has the rows of --commit_id n-1 already" in err
    run(command, path, "--append", "--commit_id", "n-2")
    assert len(ids(path)) == 2 * ROWS
    told = ask(path, "SELECT table_name, job, rows, length(model_version) FROM beamsplit_commits ORDER BY job")
    assert told == [("preds", "n-1", ROWS, 12), ("preds", "n-2", ROWS, 12)]


def test_the_table_that_is_read_is_written(command: Command, path: Path):
    """Readers have left the file when it is written to; in WAL too."""
    ask(path, "CREATE TABLE pets (id INTEGER PRIMARY KEY, a REAL, b REAL, c REAL, d REAL, y TEXT)")
    with sqlite3.connect(path) as db:
        rows = [tuple(row.values()) for row in command.table.to_pylist()]
        db.executemany("INSERT INTO pets VALUES (?, ?, ?, ?, ?, NULL)", rows)
    db.close()
    for mode in ("wal", "delete"):
        ask(path, f"PRAGMA journal_mode = {mode}")
        run(command, path, "--merge_on", "id", "--narrow", "--workers", 2, table="pets", input=f"sqlite:{path}#pets")
        ((told, full),) = ask(path, "SELECT count(y), count(*) FROM pets")
        assert told == full == ROWS
        ask(path, "UPDATE pets SET y = NULL")


KEPT: dict[str, tuple[Any, Any]] = {
    "u": (pa.array([2**40, None], pa.uint64()), 2**40),
    "h": (pa.array([1.5, None], pa.float16()), 1.5),
    "tag": (pa.array(["x\0'", None]).dictionary_encode(), "x\0'"),
    "at": (pa.array([dt.datetime(2026, 11, 1, 12), None], pa.timestamp("ms")), "2026-11-01 12:00:00.000"),
    "day": (pa.array([dt.date(2026, 11, 1), None]), "2026-11-01"),
    "ok": (pa.array([True, None]), 1),
    "raw": (pa.array([b"\0\1", None]), b"\0\1"),
    "words": (pa.array([["a", None], None], pa.list_(pa.string())), '["a",null]'),
    'odd"name': (pa.array([7, None]), 7),
}


def test_values_are_kept_as_they_are(command: Command, path: Path):
    data = command.table.slice(0, 2)
    for name, (values, _) in KEPT.items():
        data = data.append_column(name, values)
    pq.write_table(data, command.folder / "kept.parquet")
    run(command, path, "--keep", "*", input=command.folder / "kept.parquet")
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in KEPT)
    first, second = ask(path, f"SELECT {names} FROM preds ORDER BY id")
    assert list(first) == [value for _, value in KEPT.values()]
    assert second == (None,) * len(KEPT)


def test_rows_that_do_not_fit_fail(command: Command, path: Path):
    data = command.table.append_column("big", pa.array([2**64 - 1, *range(1, ROWS)], pa.uint64()))
    pq.write_table(data, command.folder / "big.parquet")
    errors = command.folder / "e.jsonl"
    run(command, path, "--keep", "id,big", "--errors", errors, input=command.folder / "big.parquet")
    assert ids(path) == list(range(1, ROWS))
    assert "is no int64" in lines(errors)[0]["reason"]


@pytest.mark.parametrize(
    ("made", "options", "why"),
    [
        ("CREATE TABLE preds (id, y, z NOT NULL)", ("--append",), "wants a value for its column 'z'"),
        ("CREATE TABLE preds (id)", ("--append",), "the table has no column 'y', it has id; leave it out"),
        ("CREATE TABLE preds (id, y AS (id + 1))", ("--append",), "column 'y' are made by the database"),
        ("CREATE VIEW preds AS SELECT 1 AS id", ("--append",), "preds is no table, it is a view"),
        ("CREATE TABLE preds (id, y)", ("--merge_on", "k"), "--merge_on names 'k', and the predictions have"),
        ("CREATE TABLE preds (id, y)", ("--append", "--overwrite"), "--overwrite and --append say both"),
        ("CREATE TABLE preds (id, y)", ("--append", "--num_shards", 2), "--num_shards is for files"),
        (
            "CREATE TABLE preds (id, y)",
            ("--append", "--resume"),
            "--resume keeps files until all of them get their names",
        ),
    ],
)
def test_what_cannot_be_written_is_told_before_the_job(command: Command, path: Path, made, options, why):
    ask(path, made)
    err = run(command, path, *options, code=2)
    assert why in err and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("made", "options", "why"),
    [
        ("CREATE TABLE preds (id UNIQUE, y)", ("--append",), "UNIQUE constraint failed: preds.id; --merge_on COLUMN"),
        ("CREATE TABLE preds (id CHECK (id < 500), y)", ("--append",), "CHECK constraint failed"),
    ],
)
def test_a_commit_that_is_refused_changes_nothing(command: Command, path: Path, made, options, why):
    ask(path, made)
    ask(path, "INSERT INTO preds VALUES (3, 'old')")
    err = run(command, path, *options, code=1)
    assert why in err and "is as it was" in err and err.count("\n") == 1, err
    assert ask(path, "SELECT * FROM preds") == [(3, "old")]
    assert [name.name for name in path.parent.iterdir()] == ["a.db"]
    pq.write_table(pa.concat_tables([command.table.slice(0, 3)] * 2), command.folder / "same.parquet")
    err = run(command, path, "--merge_on", "id", code=1, input=command.folder / "same.parquet")
    assert "several rows have the same" in err and ask(path, "SELECT * FROM preds") == [(3, "old")]


def test_a_failed_job_leaves_no_file(command: Command, path: Path):
    data = command.table.set_column(1, "a", pa.array([None, *command.table["a"].to_pylist()[1:]], pa.float32()))
    pq.write_table(data, command.folder / "null.parquet")
    run(command, path, "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert list(path.parent.iterdir()) == []


def test_a_file_that_was_cut_is_not_taken_in(path: Path):
    stage = SqliteStage(
        Database(f"sqlite:{path}"), "preds", "preds", "append", "j", columns=pa.schema({"id": pa.int64()})
    )
    bundle = stage.bundle(str(path.parent / "aside"))
    bundle.write(pa.record_batch({"id": [1, 2]}))
    record = bundle.close()
    with pytest.raises(TableRefused, match="has 2 rows, and 3 were written"):
        stage.commit([Aside(record.name, 3)])
    assert not path.exists()
    stage.commit([record])
    stage.commit([record])
    assert ids(path) == [1, 2]


def test_from_python(command: Command, path: Path):
    result = bs.score(
        str(command.data),
        command.model,
        columns={"x": list("abcd")},
        keep="id",
        output=f"sqlite:{path}#preds",
        workers=1,
    )
    assert (result.rows, result.files) == (ROWS, [f"sqlite:{path}#preds"]) and len(ids(path)) == ROWS
    with pytest.raises(bs.UsageError, match=r"are in the table sqlite:.*; read that, e.g. with ADBC"):
        result.to_arrow()
