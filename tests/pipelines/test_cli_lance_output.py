"""`--output lance:PATH`, against the real library on a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats.lance import LanceName
from beamsplit.transforms.tables.lance_index import bound_index, parse_index
from beamsplit.transforms.tables.lance_write import LanceCommit, has_commit, opened
from beamsplit.transforms.tables.merge_keys import TableChanged
from beamsplit.transforms.write.lance_file import open_path
from tests.command import ROWS, Command
from tests.onnx_models import mlp, save

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.fixture
def name(command: Command) -> str:
    command.overwrite = False
    return f"lance:{command.folder / 'preds.lance'}"


def run(command: Command, name: str, *options: object, code: int = 0, **changed: object) -> str:
    got, _, err = command.run(*GIVEN, *options, output=name, **changed)
    assert got == code, err
    return err


def path_of(name: str) -> Path:
    return Path(name.removeprefix("lance:"))


def rows(name: str) -> pa.Table:
    return lance.dataset(path_of(name)).to_table().sort_by("id")


def files(name: str) -> tuple[set[str], set[str]]:
    """(files of the current version, files that lie in the folder)."""
    fragments = lance.dataset(path_of(name)).get_fragments()
    active = {file.path for fragment in fragments for file in fragment.metadata.files}
    return active, {path.name for path in (path_of(name) / "data").iterdir()}


def test_a_dataset_is_made_added_to_and_replaced(command: Command, name: str):
    run(command, name)
    made = rows(name)
    assert made["id"].to_pylist() == list(range(ROWS)) and pa.types.is_fixed_size_list(made.schema.field("y").type)
    command.run(*GIVEN, "--overwrite")
    assert made["y"].to_pylist() == command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()
    assert "is there already; add --append to add the rows" in run(command, name, code=2)
    for _ in range(2):  # the second has nothing to do
        run(command, name, "--append", "--where", "id < 10", "--commit_id", "nightly-1")
    assert rows(name).num_rows == ROWS + 10 and files(name)[0] == files(name)[1]
    run(command, name, "--overwrite", "--where", "id < 20")
    assert rows(name)["id"].to_pylist() == list(range(20))
    told = [one.transaction_properties for one in lance.dataset(path_of(name)).get_transactions(10)]
    assert [one["beamsplit.job"] for one in told][1] == "nightly-1" and len(told) == 3
    assert all(len(one["beamsplit.model_version"]) == 12 for one in told)
    found = bs.score(
        name, save(mlp(2), command.folder / "two.onnx"), columns={"x": ["y"]}, keep=["id"], where="id > 17"
    )
    assert sorted(found.to_arrow()["id"].to_pylist()) == [18, 19]


def test_a_dataset_that_others_made_is_added_to(command: Command, name: str):
    """Columns in another order, numbered otherwise, in files of an older version; others were dropped and renamed."""
    y = pa.FixedSizeListArray.from_arrays(pa.array([1.0] * 4, pa.float32()), 2)
    table = pa.table({"gone": ["a", "b"], "y": y, "more": [{"p": 1, "q": "x"}] * 2, "number": pa.array([-1, -2])})
    made = lance.write_dataset(table, path_of(name), data_storage_version="2.0")
    made.drop_columns(["gone", "more"])
    made.alter_columns({"path": "number", "name": "id"})
    run(command, name, "--append")
    got = rows(name)
    assert got.column_names == ["y", "id"] and got["id"].to_pylist() == [-2, -1, *range(ROWS)]
    command.run(*GIVEN, "--overwrite")
    assert got["y"].to_pylist()[2:] == command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()
    assert lance.dataset(path_of(name)).data_storage_version == "2.0"
    run(command, name, "--append", "--keep", "a", code=2)


def test_kept_columns_of_many_types(command: Command, name: str):
    columns = {
        "text": pa.array([None if n % 3 == 0 else f"t{n}" for n in range(ROWS)]),
        "list": pa.array([None if n % 3 == 0 else [n, None] for n in range(ROWS)]),
        "struct": pa.array([{"p": n, "q": [f"{n}"]} for n in range(ROWS)]),
        "large": pa.array(range(ROWS), pa.uint64()),
        "time": pa.array(range(ROWS), pa.timestamp("ns", "UTC")),
    }
    table = command.table
    for column, values in columns.items():
        table = table.append_column(column, values)
    pq.write_table(table, command.folder / "wide.parquet")
    run(command, name, "--keep", ",".join(["id", *columns]), input=command.folder / "wide.parquet")
    got = rows(name)
    for column, values in columns.items():
        assert got[column].to_pylist() == values.to_pylist() and got.schema.field(column).type == values.type, column


def test_a_job_that_fails_leaves_nothing(command: Command, name: str):
    data = command.table.set_column(1, "a", pa.array([None, *command.table["a"].to_pylist()[1:]], pa.float32()))
    pq.write_table(data, command.folder / "null.parquet")
    run(command, name, "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert not (path_of(name) / "_versions").exists()
    run(command, name)
    before = files(name)
    run(command, name, "--append", "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert files(name) == before and rows(name).num_rows == ROWS


def test_no_rows(command: Command, name: str):
    run(command, name, "--where", "id < 0", "--lance_index", "y,id")
    assert rows(name).num_rows == 0 and rows(name).column_names == ["id", "y"]
    run(command, name, "--append", "--where", "id < 0")
    run(command, name, "--append", "--where", "id < 3")
    assert rows(name).num_rows == 3


def test_indexes_that_are_asked_for(command: Command, name: str):
    assert run(command, name, "--lance_index", "y:IVF_FLAT:cosine,id") == ""
    dataset = lance.dataset(path_of(name))
    assert {(one["name"], one["type"]) for one in dataset.list_indices()} == {
        ("y_idx", "IVF_FLAT"),
        ("id_idx", "BTree"),
    }
    run(command, name, "--append", "--lance_index", "y", "--where", "id < 5")
    dataset = lance.dataset(path_of(name))
    (index,) = [one for one in dataset.list_indices() if one["name"] == "y_idx"]
    assert set(index["fragment_ids"]) == {fragment.fragment_id for fragment in dataset.get_fragments()}
    near = rows(name).slice(50, 1)["y"].to_pylist()[0]
    found = dataset.to_table(nearest={"column": "y", "q": np.array(near, np.float32), "k": 1, "nprobes": 100})
    assert found["y"].to_pylist() == [near]


def test_an_index_that_was_not_made_is_made_by_the_next_run(
    command: Command, name: str, monkeypatch: pytest.MonkeyPatch
):
    given = ("--commit_id", "one", "--append", "--lance_index", "y")
    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "create_index", lambda *_, **__: 1 // 0)
        err = run(command, name, *given, code=1)
        assert "the rows are in version 1, and the index of 'y' could not be made" in err and err.count("\n") == 1
    assert rows(name).num_rows == ROWS
    run(command, name, *given)
    assert rows(name).num_rows == ROWS and lance.dataset(path_of(name)).has_index
    assert files(name)[0] == files(name)[1]


def commits(folder: Path, mode: str = "append") -> LanceCommit:
    columns = pa.schema([("id", pa.int64())])
    there = opened(LanceName(str(folder)))
    version = None if there is None else there.data_storage_version
    return LanceCommit(LanceName(str(folder)), mode, "", "", columns if there else None, version, columns=columns)


def write(folder: Path, job: str, ids: list[int]) -> list[str]:
    path = str(folder / "data" / f"part-{job}-00000-of-00001.lance")
    file = open_path(path, pa.schema([("id", pa.int64())]))
    file.write(pa.record_batch({"id": ids}))
    file.close()
    return [path]


def test_another_writer_may_come_first(tmp_path: Path):
    folder = tmp_path / "a.lance"
    made = replace(commits(folder, "error"), commit_id="a", job_id="a")
    late = replace(made, commit_id="b", job_id="b")
    names = write(folder, "a", [1])
    made(names)
    made(names)  # The step may run again.
    with pytest.raises(TableChanged, match="is there by now"):
        late(write(folder, "b", [2]))
    added, renamed = (replace(commits(folder), commit_id=one, job_id=one) for one in "cd")
    lance.write_dataset(pa.table({"id": [9]}), folder, mode="append")
    added(write(folder, "c", [3]))
    assert lance.dataset(folder).to_table()["id"].to_pylist() == [1, 9, 3]
    lance.dataset(folder).alter_columns({"path": "id", "name": "number"})
    with pytest.raises(TableChanged, match="has other columns by now"):
        renamed(write(folder, "d", [4]))
    assert sorted(one.name[5] for one in (folder / "data").glob("part-*")) == ["a", "c"]


def test_commits_of_many_writers_all_arrive_once(tmp_path: Path):
    folder = tmp_path / "a.lance"
    replace(commits(folder, "error"), commit_id="0", job_id="0")(write(folder, "0", [0]))
    ready = commits(folder)

    def commit(job: str, commit_id: str) -> None:
        replace(ready, commit_id=commit_id, job_id=job)(write(folder, job, [int(job)]))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda job: commit(job, job), "123"))
        list(pool.map(lambda job: commit(job, "same"), "456"))
    ids = lance.dataset(folder).to_table()["id"].to_pylist()
    assert sorted(ids)[:4] == [0, 1, 2, 3] and len(ids) == 5
    assert len(list((folder / "data").iterdir())) == 5 and has_commit(lance.dataset(folder), "same")


def test_what_is_wrong_is_told_in_a_line(command: Command, name: str, tmp_path: Path):
    run(command, name)
    for options, words in (
        (("--merge_on", "id"), "--merge_on is for tables of Delta, Iceberg and databases"),
        (("--overwrite_where", "id = 1"), "--overwrite_where is for tables of Delta, Iceberg and databases"),
        (("--append", "--lance_index", "z"), "--lance_index names 'z', and the dataset has the columns id, y"),
        (("--append", "--lance_index", "id:IVF_PQ"), "the column 'id' is int64; IVF_FLAT, IVF_PQ, IVF_HNSW_SQ are for"),
        (("--append", "--lance_index", "y:FAST"), "there is no kind FAST; type one of IVF_FLAT"),
        (("--append", "--keep", "a"), "the table has no column 'a', it has id, y"),
        (("--num_shards", 2), "--num_shards is for files"),
    ):
        err = run(command, name, *options, code=2)
        assert words in err and err.count("\n") == 1, err
    pq.write_table(command.table.append_column("_rowid", command.table["id"]), command.folder / "reserved.parquet")
    given = {"input": command.folder / "reserved.parquet", "code": 2}
    assert "_rowid is a reserved name" in run(command, f"{name}2", "--keep", "_rowid", **given)
    assert "names a version" in run(command, f"{name}@1", "--append", code=2)
    assert "names no folder of this machine" in run(command, "lance:s3://b/x", code=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    assert "the folder is no dataset, and has files in it" in run(command, f"lance:{tmp_path / 'full'}", code=2)
    assert "is a file, not a folder" in run(command, f"lance:{tmp_path / 'full' / 'a.txt'}", code=2)
    assert "--lance_index is for Lance datasets" in run(command, "delta:x", "--lance_index", "y", code=2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "not of the form COLUMN"),
        (":IVF_PQ", "not of the form COLUMN"),
        ("y:IVF_PQ:l2:3", "not of the form COLUMN"),
        ("id:BTREE:l2", "not of the form COLUMN"),
        ("y:IVF_PQ:near", "there is no metric near; type one of l2, cosine, dot"),
    ],
)
def test_indexes_that_are_none(spec: str, words: str):
    with pytest.raises(UsageError, match=words):
        parse_index(spec)


def test_an_index_must_suit_its_column():
    schema = pa.schema([("y", pa.list_(pa.float32(), 4)), ("l", pa.list_(pa.float32())), ("id", pa.int64())])
    assert (
        bound_index(parse_index("y"), schema).kind == "IVF_FLAT"
        and bound_index(parse_index("id"), schema).kind == "BTREE"
    )
    for spec in ("l", "y:BTREE", "id:IVF_PQ"):
        with pytest.raises(UsageError, match="are for vectors"):
            bound_index(parse_index(spec), schema)
