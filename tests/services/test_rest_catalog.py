"""`iceberg://` with a real REST catalog, reached over TLS with a token, also where it loses its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.transforms.tables.iceberg_catalog import IcebergName, open_catalog
from tests.command import ROWS, Command
from tests.onnx_models import mlp, save
from tests.pipelines.local_catalog import reread_settings
from tests.services.rest_catalog import Door, rest_server

trustme = pytest.importorskip("trustme")
pytest.importorskip("pyiceberg.catalog")

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")
SECRET = "s3cr3t-t0ken"


@pytest.fixture(scope="module")
def behind(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the catalog."""
    with rest_server(tmp_path_factory.mktemp("catalog")) as port:
        yield port


@pytest.fixture
def door(behind: int, tmp_path: Path) -> Iterator[Door]:
    """How it is reached here, as the catalog `rest`; each test makes a namespace of its own."""
    authority, pem = trustme.CA(), tmp_path / "server.pem"
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    pem.write_bytes(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
    made = Door(behind, pem)
    made.token = SECRET
    yield made
    made.close()


@pytest.fixture
def namespace(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> str:
    """A namespace; what is configured is a file, as pyiceberg has it."""
    command.overwrite = False
    settings = (
        f"catalog:\n  rest:\n    type: rest\n    uri: https://127.0.0.1:{door.server_port}\n    token: {SECRET}\n"
        f"    ssl:\n      cabundle: {tmp_path / 'ca.pem'}\n    snapshot-loading-mode: refs\n"
    )
    (tmp_path / ".pyiceberg.yaml").write_text(settings)
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    reread_settings(monkeypatch)
    name = f"of_{tmp_path.name}"
    catalog().create_namespace(name)
    return name


def catalog() -> Any:
    """The catalog, as jobs open it."""
    return open_catalog(IcebergName("rest", "any.table"), "--input")


def run(command: Command, name: str, *options: object, code: int = 0) -> str:
    got, _, err = command.run(*GIVEN, *options, output=name)
    assert got == code, err
    return err


def rows(table: str) -> list[int]:
    ids: list[int] = catalog().load_table(table).scan().to_arrow()["id"].to_pylist()
    return sorted(ids)


def files(table: str) -> tuple[set[str], set[str]]:
    """(files of the current snapshot, files that lie in the folder)."""
    found = catalog().load_table(table)
    active = {Path(task.file.file_path).name for task in found.scan().plan_files()}
    folder = "/" + found.location().removeprefix("file:").lstrip("/")
    return active, {path.name for path in Path(folder, "data").iterdir()}


def test_a_table_is_made_added_to_replaced_and_read(command: Command, namespace: str):
    table = f"{namespace}.preds"
    name = f"iceberg://rest/{table}"
    run(command, name)
    assert rows(table) == list(range(ROWS))
    for _ in range(2):  # the second has nothing to do
        run(command, name, "--append", "--where", "id < 10", "--commit_id", "nightly-1")
    run(command, name, "--overwrite_where", "id < 5", "--where", "id < 5")
    assert rows(table) == sorted([*range(ROWS), *range(5, 10)])
    run(command, name, "--merge_on", "id", "--where", "id between 5 and 9")
    assert rows(table) == list(range(ROWS))
    run(command, name, "--append", "--where", "id < 10", "--commit_id", "nightly-1")
    run(command, name, "--overwrite", "--where", "id < 20")
    assert rows(table) == list(range(20)) and len(files(table)[0]) == 1
    model = save(mlp(2), command.folder / "two.onnx")
    found = bs.score(name, model, columns={"x": ["y"]}, keep=["id"], where="id > 15", workers=1)
    assert sorted(found.to_arrow()["id"].to_pylist()) == [16, 17, 18, 19]


@pytest.mark.parametrize("fault", ["lost", "500", "unmade"])
def test_an_answer_that_is_lost_makes_no_rows_twice(
    command: Command, namespace: str, door: Door, monkeypatch: pytest.MonkeyPatch, fault: str
):
    monkeypatch.setattr("beamsplit.transforms.tables.iceberg_write.time.sleep", lambda seconds: None)
    table = f"{namespace}.preds"
    name = f"iceberg://rest/{table}"
    door.of_commit = lambda number: fault if number % 3 else ""
    run(command, name)
    assert rows(table) == list(range(ROWS))
    run(command, name, "--append", "--where", "id < 10")
    run(command, name, "--merge_on", "id", "--where", "id between 10 and 19")
    assert rows(table) == sorted([*range(ROWS), *range(10)])
    active, lying = files(table)
    assert active <= lying and len(lying) == 4


def test_a_job_that_begins_again_commits_once(command: Command, namespace: str, door: Door):
    name, table = f"iceberg://rest/{namespace}.preds", f"{namespace}.preds"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamsplit.transforms.tables.iceberg_write.time.sleep", lambda seconds: None)
        door.of_commit = lambda number: "lost" if number == 1 else "unmade"
        run(command, name, "--resume")
        door.of_commit = lambda number: "unmade"
        err = run(command, name, "--append", "--resume", code=1)
        assert "the catalog did not tell whether the rows are the table's by now" in err and err.count("\n") == 1
    assert rows(table) == list(range(ROWS))
    door.of_commit = lambda number: ""
    run(command, name, "--append", "--resume")
    assert rows(table) == sorted([*range(ROWS), *range(ROWS)])


def test_what_is_wrong_is_told_in_a_line_without_secrets(
    command: Command, namespace: str, door: Door, monkeypatch: pytest.MonkeyPatch
):
    name = f"iceberg://rest/{namespace}.preds"
    assert "has no namespace none; create it" in run(command, "iceberg://rest/none.t", code=2)
    assert f"the catalog rest has no table {namespace}.none" in command.error(input=f"iceberg://rest/{namespace}.none")
    door.token = "another"
    err = run(command, name, code=2)
    assert "the catalog rest cannot be opened: NotAuthorized: not authorized: Bearer ..." in err and SECRET not in err
    monkeypatch.setenv("PYICEBERG_CATALOG__OPEN__URI", f"https://127.0.0.1:{door.server_port}")
    reread_settings(monkeypatch)
    assert "CERTIFICATE_VERIFY_FAILED" in run(command, "iceberg://open/a.b", code=2)
    monkeypatch.setenv("PYICEBERG_CATALOG__OPEN__URI", "http://127.0.0.1:9")
    reread_settings(monkeypatch)
    err = run(command, "iceberg://open/a.b", code=2)
    assert "the catalog open cannot be opened" in err and err.count("\n") == 1


def test_rows_that_fail_leave_no_table(command: Command, namespace: str):
    data = command.table.set_column(1, "a", pa.array([None, *command.table["a"].to_pylist()[1:]], pa.float32()))
    pq.write_table(data, command.folder / "null.parquet")
    table = f"{namespace}.preds"
    code, _, err = command.run(
        *GIVEN, "--max_failed", 0, input=command.folder / "null.parquet", output=f"iceberg://rest/{table}"
    )
    assert code == 1, err
    assert not catalog().table_exists(table)
    summary = command.folder / "s.json"
    run(command, f"iceberg://rest/{table}", "--summary", summary)
    assert json.loads(summary.read_text())["rows_scored"] == ROWS
