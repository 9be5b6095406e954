"""`--output delta:PATH`, against the real library on a folder."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import beamsplit as bs
from beamsplit.models.errors import UsageError
from beamsplit.transforms.tables.delta import DeltaName
from beamsplit.transforms.tables.delta_write import DeltaCommit
from beamsplit.transforms.tables.merge_keys import TableChanged
from tests.command import ROWS, Command

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.fixture
def table(command: Command) -> Path:
    command.overwrite = False
    return command.folder / "preds"


def run(
    command: Command, table: Path, *options: object, code: int = 0, given: tuple[object, ...] = GIVEN, **changed: object
) -> str:
    got, _, err = command.run(*given, *options, output=f"delta:{table}", **changed)
    assert got == code, err
    return err


def rows(table: Path, **version: int) -> pa.Table:
    return pa.table(DeltaTable(table, **version).to_pyarrow_table()).sort_by("id")


def files(table: Path) -> set[str]:
    """The names in the folder that are not those of the log."""
    return {path.name for path in table.iterdir()} - {"_delta_log"} if table.exists() else set()


def active(table: Path) -> set[str]:
    return {Path(file).name for file in DeltaTable(table).file_uris()}


def test_a_table_is_made_added_to_and_replaced(command: Command, table: Path):
    run(command, table)
    command.run(*GIVEN, "--overwrite")
    assert rows(table)["id"].to_pylist() == list(range(ROWS))
    assert rows(table)["y"].to_pylist() == [
        list(row) for row in command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()
    ]
    assert "is there already; add --append to add the rows" in run(command, table, code=2)
    code, out, _ = command.run(*GIVEN[:-1], "--dry_run_plan", output=f"delta:{table}")
    assert code == 0 and "is there already: to run this, add --append" in out
    run(command, table, "--append", "--where", "id < 10")
    assert rows(table).num_rows == ROWS + 10
    run(command, table, "--overwrite", "--where", "id < 20")
    assert rows(table)["id"].to_pylist() == list(range(20))
    assert [rows(table, version=at).num_rows for at in range(3)] == [ROWS, ROWS + 10, 20]
    run(command, table, "--append", "--where", "id < 0")
    assert rows(table).num_rows == 20


def test_commits_and_files_tell_of_the_model_and_the_job(command: Command, table: Path):
    summary = command.folder / "s.json"
    run(command, table, "--commit_id", "nightly-1", "--summary", summary)
    (last,) = DeltaTable(table).history(1)
    assert last["beamsplit.job"] == "nightly-1" and len(last["beamsplit.model_version"]) == 12
    told = pq.read_schema(DeltaTable(table).file_uris()[0]).metadata
    assert told == {key.encode(): last[key].encode() for key in ("beamsplit.job", "beamsplit.model_version")}
    assert json.loads(summary.read_text())["files"] == [f"delta:{table}@0"]


def test_a_job_that_is_run_again_commits_once(command: Command, table: Path):
    for _ in range(2):
        command.run(*GIVEN[:-1], "--append", "--commit_id", "nightly-1", output=f"delta:{table}")
        assert rows(table).num_rows == ROWS and files(table) == active(table)
    err = command.run(*GIVEN[:-1], "--append", "--commit_id", "nightly-1", output=f"delta:{table}")[2]
    assert "note: delta:" in err and "has the rows of --commit_id nightly-1 already" in err
    run(command, table, "--append", "--commit_id", "nightly-2")
    assert rows(table).num_rows == 2 * ROWS


def test_rows_of_the_same_key_are_replaced(command: Command, table: Path):
    run(command, table, "--merge_on", "id", "--where", "id < 100")
    first = rows(table)
    twice = command.table.set_column(1, "a", pa.array(command.table["a"].to_numpy() * 2))
    pq.write_table(twice, command.folder / "twice.parquet")
    run(command, table, "--merge_on", "id", "--where", "id between 50 and 149", input=command.folder / "twice.parquet")
    merged = rows(table)
    assert merged["id"].to_pylist() == list(range(150))
    assert merged.slice(0, 50).equals(first.slice(0, 50)) and not merged.slice(50, 50).equals(first.slice(50))
    assert active(table) <= files(table) and DeltaTable(table).version() == 1
    pq.write_table(pa.concat_tables([command.table.slice(0, 3)] * 2), command.folder / "same.parquet")
    before = files(table)
    err = run(command, table, "--merge_on", "id", code=1, input=command.folder / "same.parquet")
    assert "--merge_on id: several rows have the same" in err and err.count("\n") == 1
    assert files(table) == before and rows(table).equals(merged)


KEPT = {
    "u": pa.array(range(ROWS), pa.uint32()),
    "h": pa.array(np.arange(ROWS, dtype=np.float16)),
    "tag": pa.array(["x", None, "y"] * (ROWS // 3)).dictionary_encode(),
    "at": pa.array([dt.datetime(2026, 11, 1, 12), None] * (ROWS // 2), pa.timestamp("ms", "Europe/Berlin")),
    "day": pa.array([dt.date(2026, 11, 1), None] * (ROWS // 2), pa.date64()),
    "words": pa.array([["a", None], None] * (ROWS // 2), pa.large_list(pa.large_string())),
}


def test_columns_have_the_types_of_tables(command: Command, table: Path):
    data = command.table
    for name, values in KEPT.items():
        data = data.append_column(name, values)
    pq.write_table(data, command.folder / "kept.parquet")
    given = ("--keep", ",".join(["id", *KEPT]), *GIVEN[2:])
    run(command, table, input=command.folder / "kept.parquet", given=given)
    run(command, table, "--append", input=command.folder / "kept.parquet", given=given)
    made = rows(table)
    kinds = [made.schema.field(name).type for name in KEPT]
    assert kinds[:5] == [pa.int64(), pa.float32(), pa.string(), pa.timestamp("us", "UTC"), pa.date32()]
    for name, values in KEPT.items():
        assert made[name].to_pylist()[::2] == values.to_pylist(), name
    pq.write_table(data.append_column("big", pa.array(range(ROWS), pa.uint64())), command.folder / "kept.parquet")
    err = run(command, command.folder / "new", code=2, input=command.folder / "kept.parquet", given=("--keep", "big"))
    assert "a table cannot hold the column 'big' of type uint64" in err


def test_rows_that_the_table_does_not_hold_fail(command: Command, table: Path):
    schema = pa.schema([("y", pa.list_(pa.float32())), ("id", pa.int8())])
    write_deltalake(table, pa.table({"y": [[0.0, 0.0]], "id": pa.array([1], pa.int8())}).cast(schema))
    errors = command.folder / "e.jsonl"
    run(command, table, "--append", "--errors", errors)
    assert rows(table)["id"].to_pylist() == sorted([1, *range(128)])
    assert json.loads(errors.read_text().splitlines()[0])["reason"] == "column 'id': 128 is no int8"


def test_a_job_that_fails_leaves_nothing(command: Command, table: Path):
    data = command.table.set_column(1, "a", pa.array([None, *command.table["a"].to_pylist()[1:]], pa.float32()))
    pq.write_table(data, command.folder / "null.parquet")
    assert run(command, table, "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert files(table) == set()
    run(command, table)
    before = files(table)
    assert run(command, table, "--append", "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert files(table) == before and DeltaTable(table).version() == 0


COLUMNS = pa.schema([("id", pa.int64())])


def commit(folder: Path, mode: str = "append", **more: object) -> tuple[DeltaCommit, str]:
    """A commit of one file, which lies in the folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pq.write_table(pa.table({"id": [1, 2]}), path)
    return replace(DeltaCommit(DeltaName(str(folder)), mode, None, path.name, path.name, columns=COLUMNS), **more), str(
        path
    )


def test_another_writer_may_come_first(table: Path):
    made, path = commit(table, "error")
    late, late_path = commit(table, "error")
    made([path])
    with pytest.raises(TableChanged, match="is there by now, and is not written without --append or --overwrite"):
        late([late_path])
    assert files(table) == active(table) == {Path(path).name}
    for _ in range(2):
        made([path])  # The step may run again.
        assert files(table) == active(table) == {Path(path).name} and made.is_done()
    both = [commit(table) for _ in range(2)]
    for one, name in both:
        one([name])
    assert rows(table).num_rows == 6
    same, path = commit(table, commit_id="0.parquet")
    same([path])
    assert rows(table).num_rows == 6 and not Path(path).exists()
    other, path = commit(table, schema=pa.schema([("id", pa.string())]))
    with pytest.raises(TableChanged, match="has other columns by now"):
        other([path])
    assert not Path(path).exists()


def test_commits_of_many_writers_all_arrive(table: Path):
    from concurrent.futures import ThreadPoolExecutor

    made, path = commit(table, "error")
    made([path])
    many = [commit(table, "append") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: one[0]([one[1]]), many))
    assert rows(table).num_rows == 18 and DeltaTable(table).version() == 8


def test_rows_are_found_by_what_the_log_tells(command: Command, table: Path):
    run(command, table, "--where", "id < 300")
    run(command, table, "--append", "--where", "id >= 300")
    told = pa.table(DeltaTable(table).get_add_actions(flatten=True)).to_pylist()
    assert sorted((one["min.id"], one["max.id"], one["null_count.id"]) for one in told) == [(0, 299, 0), (300, 599, 0)]


def test_what_is_wrong_is_told_in_a_line(command: Command, table: Path, tmp_path: Path):
    run(command, table)
    cases = {
        ("--append", "--overwrite"): "--overwrite and --append say both what becomes of the rows",
        ("--append", "--num_shards", 2): "--num_shards is for files",
        ("--merge_on", "z"): "--merge_on names 'z', and the predictions have the columns id, y",
        ("--append", "--keep", "id,a"): "the table has no column 'a', it has id, y",
        ("--append", "--json_nan", "null"): "--json_nan null is for JSON",
    }
    for options, why in cases.items():
        assert why in run(command, table, *options, code=2), options
    err = run(command, table, "--append", code=2, given=("--keep", "a", "--quiet"))
    assert "the table has no column 'a'" in err
    err = run(command, table, "--append", code=2, given=("--quiet",))
    assert "the table has a column 'id' (int64), which is not among the predictions: y" in err
    assert "names a version, and what is written makes a new one" in run(command, Path(f"{table}@1"), code=2)
    assert "the folder is no table, and has files in it" in run(command, command.folder, code=2)
    assert "is a file, not a folder" in run(command, Path(command.data) / "t", code=2)
    code, _, err = command.run(*GIVEN, "--append")
    assert code == 2 and "--append is for tables, and --output" in err
    code, _, err = command.run(*GIVEN, output="delta:gs://bucket/t")
    assert code == 2 and "on this machine's file system and at s3:// only" in err
    parted = command.folder / "parted"
    write_deltalake(parted, pa.table({"id": [1.0], "y": [[0.0]]}), partition_by=["id"])
    assert "is partitioned by 'id', and files are not written by values of type double" in run(
        command, parted, "--append", code=2
    )
    where = ("--overwrite_where", "id < 10")
    assert "--append and --overwrite_where say both" in run(command, table, "--append", *where, code=2)
    assert "and --output delta:" in run(command, command.folder / "new", *where, code=2)
    err = run(command, table, "--overwrite_where", "z = 1", code=2)
    assert err.startswith("error: --overwrite_where") and "'z'" in err
    texts = command.folder / "texts"
    write_deltalake(texts, pa.table({"id": [True], "y": ["a"]}))
    assert "the column 'y' is string in the table and" in run(command, texts, "--append", code=2)


def test_the_same_from_python(command: Command, table: Path):
    result = bs.score(
        command.data, command.model, columns={"x": list("abcd")}, keep=["id"], output=f"delta:{table}", workers=1
    )
    assert result.rows == ROWS and result.files == [f"delta:{table}@0"]
    with pytest.raises(UsageError, match="the predictions are in the table delta:"):
        result.to_arrow()
