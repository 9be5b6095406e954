"""Tables at a store: Delta and Iceberg on moto's S3, read and written by the command."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.config import Config

from tests.transforms.stores.killed import kill_at

STORAGE = {"AWS_ALLOW_HTTP": "true"}
GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.fixture
def catalog(s3, command, monkeypatch):
    """A catalog in SQLite here, whose tables lie there."""
    settings = {"TYPE": "sql", "URI": f"sqlite:///{command.folder}/catalog.db", "WAREHOUSE": "s3://bucket/lake"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__LOCAL__{name}", value)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    catalog = load_catalog("local", **{"s3.endpoint": os.environ["AWS_ENDPOINT_URL"], "s3.region": "us-east-1"})
    catalog.create_namespace("db")
    return catalog


def run(command, name: str, *options: object, code: int = 0, **changed: object) -> str:
    command.overwrite = False
    got, _, err = command.run(*GIVEN, *options, **{"output": name, **changed})
    assert got == code, err
    assert "very-secret-key" not in err
    return err


def delta_rows() -> pa.Table:
    return pa.table(DeltaTable("s3://bucket/t", storage_options=STORAGE).to_pyarrow_table()).sort_by("id")


def files(s3, folder: str) -> set[str]:
    return {name for name in s3.names(folder) if "_delta_log" not in name and "/metadata/" not in name}


def test_a_delta_table_is_written_and_read(s3, command):
    name = "delta:s3://bucket/t"
    run(command, name, "--where", "id < 50")
    run(command, name, "--append", "--where", "id between 50 and 99", "--commit_id", "a")
    run(command, name, "--append", "--where", "id between 50 and 99", "--commit_id", "a")
    run(command, name, "--merge_on", "id", "--where", "id between 90 and 109")
    run(command, name, "--overwrite_where", "id >= 105", "--where", "id between 105 and 106")
    assert delta_rows()["id"].to_pylist() == list(range(107))
    known = {path.removeprefix("s3://bucket/") for v in range(4) for path in _uris(v)}
    assert files(s3, "t") <= known
    err = run(command, "delta:s3://nowhere/t", code=2)
    assert err.startswith("error: --output delta:s3://nowhere/t") and err.count("\n") == 1


def _uris(version: int) -> list[str]:
    return DeltaTable("s3://bucket/t", version=version, storage_options=STORAGE).file_uris()


@pytest.mark.parametrize("system", ["delta", "iceberg"])
def test_the_rows_of_a_table_are_read(s3, command, catalog, system):
    if system == "delta":
        from deltalake import write_deltalake

        write_deltalake("s3://bucket/in", command.table, storage_options=STORAGE)
        name = "delta:s3://bucket/in"
    else:
        catalog.create_table("db.in", schema=command.table.schema).append(command.table)
        name = "iceberg://local/db.in"
    run(command, str(command.output), "--where", "id >= 590", input=name)
    assert command.rows()["id"].to_pylist() == list(range(590, 600))


def test_an_iceberg_table_is_written(s3, command, catalog):
    name = "iceberg://local/db.preds"
    run(command, name, "--where", "id < 50")
    run(command, name, "--append", "--where", "id between 50 and 99")
    run(command, name, "--merge_on", "id", "--where", "id between 90 and 109")
    run(command, name, "--overwrite_where", "id >= 105", "--where", "id between 105 and 106")
    table = catalog.load_table("db.preds")
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == list(range(107))
    known = {path.removeprefix("s3://bucket/") for path in table.inspect.all_data_files()["file_path"].to_pylist()}
    assert files(s3, "lake") == known


def test_what_a_killed_job_left_is_removed_by_the_next(s3, command):
    name = "delta:s3://bucket/t"
    run(command, name, "--where", "id < 50")

    def commits(request) -> bool:
        return request.method in ("PUT", "POST") and "_delta_log" in request.path

    kill_at(s3, command, name, commits, signal.SIGKILL)
    assert delta_rows()["id"].to_pylist() == list(range(50))
    assert len(files(s3, "t")) > 1
    run(command, name, "--append", "--where", "id between 50 and 59")
    assert delta_rows()["id"].to_pylist() == list(range(60))
    assert files(s3, "t") == {path.removeprefix("s3://bucket/") for path in _uris(1)}
