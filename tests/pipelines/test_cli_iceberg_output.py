"""`--output iceberg://CATALOG/db.table`, against pyiceberg with a catalog in SQLite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import FloatType

import beamsplit as bs
from beamsplit.transforms.tables.iceberg_catalog import IcebergName
from beamsplit.transforms.tables.iceberg_write import IcebergCommit
from beamsplit.transforms.tables.merge_keys import TableChanged
from tests.command import ROWS, Command
from tests.onnx_models import mlp, save
from tests.pipelines.local_catalog import local_catalog

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")
NAME = "iceberg://local/db.preds"


@pytest.fixture
def catalog(command: Command, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    command.overwrite = False
    return local_catalog(command.folder / "lake", monkeypatch)


def run(command: Command, *options: object, code: int = 0, name: str = NAME, **changed: object) -> str:
    got, _, err = command.run(*GIVEN, *options, output=name, **changed)
    assert got == code, err
    return err


def rows(catalog: Catalog) -> pa.Table:
    return catalog.load_table("db.preds").scan().to_arrow().sort_by("id")


def files(catalog: Catalog) -> tuple[set[str], set[str]]:
    """(files of the current snapshot, files that lie in the folder)."""
    table = catalog.load_table("db.preds")
    active = {Path(task.file.file_path).name for task in table.scan().plan_files()}
    return active, {path.name for path in Path(table.location().removeprefix("file://"), "data").iterdir()}


def test_a_table_is_made_added_to_and_replaced(command: Command, catalog: Catalog):
    run(command)
    assert rows(catalog)["id"].to_pylist() == list(range(ROWS))
    command.run(*GIVEN, "--overwrite")
    assert rows(catalog)["y"].to_pylist() == command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()
    assert "is there already; add --append to add the rows" in run(command, code=2)
    run(command, "--append", "--where", "id < 10", "--commit_id", "nightly-1")
    run(command, "--append", "--where", "id < 10", "--commit_id", "nightly-1")
    assert rows(catalog).num_rows == ROWS + 10 and files(catalog)[0] == files(catalog)[1]
    run(command, "--overwrite", "--where", "id < 20")
    assert rows(catalog)["id"].to_pylist() == list(range(20))
    table = catalog.load_table("db.preds")
    told = [one.summary.additional_properties for one in table.snapshots() if one.summary is not None]
    assert len(told) == 3 and told[1]["beamsplit.job"] == "nightly-1"
    assert all(len(one["beamsplit.model_version"]) == 12 for one in told)
    # What was written is read again, also under another name.
    with table.update_schema() as schema:
        schema.rename_column("id", "number")
    found = bs.score(
        NAME, save(mlp(2), command.folder / "two.onnx"), columns={"x": ["y"]}, keep=["number"], where="number > 17"
    )
    assert sorted(found.to_arrow()["number"].to_pylist()) == [18, 19]


def test_a_job_that_fails_leaves_nothing(command: Command, catalog: Catalog):
    data = command.table.set_column(1, "a", pa.array([None, *command.table["a"].to_pylist()[1:]], pa.float32()))
    pq.write_table(data, command.folder / "null.parquet")
    run(command, "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert not catalog.table_exists("db.preds")
    run(command)
    before = files(catalog)
    run(command, "--append", "--max_failed", 0, code=1, input=command.folder / "null.parquet")
    assert files(catalog) == before and rows(catalog).num_rows == ROWS


def test_another_writer_may_come_first(command: Command, catalog: Catalog):
    folder = command.folder / "lake" / "db" / "preds"
    (folder / "data").mkdir(parents=True)
    columns = pa.schema([("id", pa.int64())])

    def commit(job: str, mode: str) -> tuple[IcebergCommit, str]:
        path = folder / "data" / f"{job}.parquet"
        pq.write_table(pa.table({"id": [1, 2]}), path)
        there = columns if mode != "error" else None
        return IcebergCommit(
            IcebergName("local", "db.preds"), mode, f"file://{folder}", job, job, there, columns=columns
        ), str(path)

    made, path = commit("a", "error")
    late, late_path = commit("b", "error")
    made([path])
    made([path])  # The step may run again.
    with pytest.raises(TableChanged, match="is there by now"):
        late([late_path])
    for job in "cd":
        one, path = commit(job, "append")
        one([path])
    assert rows(catalog).num_rows == 6 and files(catalog)[0] == files(catalog)[1]
    other, path = commit("e", "append")
    with pytest.raises(TableChanged, match="has other columns by now"):
        replace(other, schema=pa.schema([("id", pa.string())]))([path])
    assert not Path(path).exists()


def test_commits_of_many_writers_all_arrive_once(command: Command, catalog: Catalog):
    from concurrent.futures import ThreadPoolExecutor

    folder = command.folder / "lake" / "db" / "preds"
    (folder / "data").mkdir(parents=True)
    columns = pa.schema([("id", pa.int64())])

    def commit(number: int, mode: str = "append", commit_id: str | None = None) -> None:
        path = folder / "data" / f"part-{number}.parquet"
        pq.write_table(pa.table({"id": [number]}), path)
        there = columns if mode != "error" else None
        name = IcebergName("local", "db.preds")
        job = f"job-{number}"
        IcebergCommit(name, mode, f"file://{folder}", commit_id or job, job, there, columns=columns)([str(path)])

    commit(0, "error")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(commit, range(1, 4)))
        list(pool.map(lambda number: commit(number, commit_id="same"), range(4, 7)))
    ids = rows(catalog)["id"].to_pylist()
    assert ids[:4] == [0, 1, 2, 3] and len(ids) == 5
    assert files(catalog)[0] == files(catalog)[1]


def test_a_commit_of_which_nothing_is_known_keeps_its_files(
    command: Command, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
):
    run(command)
    before = files(catalog)

    def lost(*_: object, **__: object) -> None:
        raise CommitStateUnknownException("no answer")

    monkeypatch.setattr("pyiceberg.catalog.sql.SqlCatalog.commit_table", lost)
    monkeypatch.setattr("beamsplit.transforms.tables.iceberg_write.time.sleep", lambda seconds: None)
    err = run(command, "--append", code=1)
    assert "the catalog did not tell whether the rows are the table's by now: no answer" in err and err.count("\n") == 1
    active, lying = files(catalog)
    assert active == before[0] and len(lying) == len(before[1]) + 1


def test_what_is_wrong_is_told_in_a_line(command: Command, catalog: Catalog):
    run(command)
    assert "--merge_on names 'z', and the predictions have" in run(command, "--merge_on", "z", code=2)
    err = run(command, "--overwrite_where", "z = 1", code=2)
    assert err.startswith("error: --overwrite_where") and "'z'" in err
    assert "names a snapshot, and what is written makes a new one" in run(command, "--append", code=2, name=f"{NAME}@1")
    assert "has no namespace none; create it" in run(command, code=2, name="iceberg://local/none.t")
    assert "the table has no column 'a', it has id, y" in run(command, "--append", "--keep", "a", code=2)
    with catalog.load_table("db.preds").update_schema() as schema:
        schema.add_column("score", FloatType())
    with catalog.load_table("db.preds").update_spec() as spec:
        spec.add_field("score", IdentityTransform(), "by_score")
    assert "is partitioned by by_score, which is identity of a float" in run(command, "--append", code=2)


def test_the_same_from_python(command: Command, catalog: Catalog):
    result = bs.score(command.data, command.model, columns={"x": list("abcd")}, keep=["id"], output=NAME, workers=1)
    assert result.rows == ROWS and result.files[0].startswith(f"{NAME}@")
    with pytest.raises(bs.UsageError, match=r"are in the table iceberg:.*Table.scan"):
        result.to_arrow()
