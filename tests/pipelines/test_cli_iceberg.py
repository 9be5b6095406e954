"""`--input iceberg://CATALOG/db.table`, against pyiceberg with a catalog in SQLite."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

import beamsplit as bs
from beamsplit.models.errors import UsageError
from beamsplit.transforms.tables.iceberg import file_of_table
from beamsplit.transforms.tables.iceberg_catalog import IcebergName, told
from tests.command import ROWS, Command
from tests.pipelines.local_catalog import local_catalog
from tests.transforms.tables.iceberg_deletes import delete_positions

GIVEN = ("--workers", 1, "--worker_type", "thread", "--quiet")
KINDS = {
    "day": pa.array([dt.date(2026, 11, 1), dt.date(2026, 12, 2), None] * (ROWS // 3)),
    "country": pa.array(["de", "a b/c=%2F", None, "fr"] * (ROWS // 4)),
    "price": pa.array([Decimal("1.10"), Decimal("-2.00")] * (ROWS // 2), pa.decimal128(10, 2)),
    "at": pa.array([dt.datetime(2026, 11, 1, 12, 0, 0, 5), None] * (ROWS // 2), pa.timestamp("us", "UTC")),
    "ok": pa.array([True, None, False] * (ROWS // 3)),
}
NAME = "iceberg://local/db.t"


@pytest.fixture
def catalog(command: Command, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    return local_catalog(command.folder / "lake", monkeypatch)


@pytest.fixture
def table(command: Command) -> pa.Table:
    table = command.table
    for name, values in KINDS.items():
        table = table.append_column(name, values)
    return table


def scored(command: Command, *options: object, name: str = NAME) -> pa.Table:
    code, _, err = command.run(*GIVEN, *options, input=name)
    assert code == 0, err
    return command.rows()


def test_rows_are_those_of_the_table_however_it_is_partitioned(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 200))
    with made.update_spec() as spec:
        spec.add_field("country", IdentityTransform(), "country")
        spec.add_field("day", IdentityTransform(), "day_too")
    made.append(table.slice(200))
    assert scored(command, "--keep", "*").drop_columns("y").equals(table)
    code, out, _ = command.run("--dry_run_plan", input=NAME)
    assert code == 0 and f"{NAME}, snapshot {made.current_snapshot().snapshot_id}, " in out and "600 rows" in out


def test_a_snapshot_has_the_rows_and_columns_that_it_had(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 300))
    first = made.current_snapshot().snapshot_id
    made.append(table.slice(300))
    made.delete("id < 100")
    made.manage_snapshots().create_tag(first, "before").commit()
    with made.update_schema() as schema:
        schema.delete_column("ok")
    assert scored(command, "--keep", "id")["id"].to_pylist() == list(range(100, ROWS))
    for at in (first, "before"):
        rows = scored(command, "--keep", "id,ok", name=f"{NAME}@{at}")
        assert rows.select(["id", "ok"]).equals(table.select(["id", "ok"]).slice(0, 300))
    assert "the table has no snapshot, branch or tag 7; the last are" in command.run(input=f"{NAME}@7")[2]


def test_columns_are_known_by_their_numbers(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 300))
    with made.update_schema() as schema:
        schema.rename_column("a", "z").rename_column("country", "land")
    with made.update_schema() as schema:
        schema.rename_column("b", "a").delete_column("ok")
    with made.update_schema() as schema:
        schema.add_column("ok", LongType()).add_column("b", LongType())
    made.append(made.scan().to_arrow().slice(0, 1).set_column(0, "id", pa.array([999])))
    code, _, err = command.run(
        *GIVEN, "--keep", "id,z,a,b,ok,land", "--where", "land = 'de' and b is null", input=NAME, columns="x=z,a,c,d"
    )
    assert code == 0, err
    rows = command.rows()
    kept = table.slice(0, 300).filter(pc.equal(table["country"].slice(0, 300), "de"))
    assert rows["id"].to_pylist() == [*kept["id"].to_pylist(), 999]
    assert rows["z"].to_pylist()[:-1] == kept["a"].to_pylist() and rows["a"].to_pylist()[:-1] == kept["b"].to_pylist()
    assert rows["ok"].null_count == rows.num_rows


def test_files_that_cannot_hold_such_rows_are_not_read(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    with made.update_spec() as spec:
        spec.add_field("country", IdentityTransform(), "country")
    for at in range(3):
        made.append(table.slice(at * 200, 200))
    where = "id between 250 and 330 and country <> 'fr' and price < 0 and day = '2026-12-02'"
    kept = [n for n in range(250, 331) if n % 4 == 1 and n % 3 == 1]
    for task in made.scan().plan_files():
        path = Path(task.file.file_path.removeprefix("file://"))
        ids = pq.read_table(path, partitioning=None)["id"].to_pylist()
        if not set(ids) & set(range(250, 331)) or ids[0] % 4 in (2, 3):
            path.unlink()
    summary = command.folder / "s.json"
    rows = scored(command, "--keep", "id", "--where", where, "--summary", summary)
    assert rows["id"].to_pylist() == kept
    counts = json.loads(summary.read_text())
    assert (counts["rows_in"], counts["rows_left_out"]) == (ROWS, ROWS - len(kept))
    code, _, err = command.run(*GIVEN, input=NAME)
    assert code == 2 and "is gone; were the table's snapshots expired?" in err


def test_a_table_without_rows_gives_an_output_without_rows(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    assert scored(command, "--keep", "id,day").num_rows == 0
    made.append(table)
    assert scored(command, "--keep", "id", "--where", "id > 5000").num_rows == 0


def test_what_is_not_read_right_is_refused(
    command: Command, catalog: Catalog, table: pa.Table, monkeypatch: pytest.MonkeyPatch
):
    nested = table.append_column("s", pa.array([{"x": 1}] * ROWS))
    made = catalog.create_table("db.t", schema=nested.schema)
    made.append(nested)
    assert scored(command, "--keep", "id,s")["s"].to_pylist() == [{"x": 1}] * ROWS
    with made.update_schema() as schema:
        schema.rename_column(("s", "x"), "z")
    assert "is of lists or structs that were changed within" in command.run("--keep", "s", input=NAME)[2]
    assert scored(command, "--keep", "id").num_rows == ROWS
    (task,) = made.scan().plan_files()
    name = IcebergName("local", "db.t")

    def of(file: Any, location: str = made.location()) -> str:
        return file_of_table(name, file, location, "--input")

    assert of(task.file) == task.file.file_path.removeprefix("file://")
    with pytest.raises(UsageError, match="which is not in the table's folder"):
        of(task.file, location="file:///other")
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    assert "pip install 'beamsplit[iceberg]'" in command.run(input=NAME)[2]


def test_rows_that_delete_files_mark_are_none(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 300))
    first = made.current_snapshot().snapshot_id
    (one,) = (task.file.file_path for task in made.scan().plan_files())
    made.append(table.slice(300))
    (two,) = {task.file.file_path for task in made.scan().plan_files()} - {one}
    delete_positions(made, {one: range(0, 300, 7), two: [0, 299]})
    delete_positions(made, {one: [0, 1], two: range(10)})
    gone = {*range(0, 300, 7), 1, *range(300, 310), 599}
    left = [n for n in range(ROWS) if n not in gone]
    assert made.scan().to_arrow()["id"].sort().to_pylist() == left
    summary = command.folder / "s.json"
    assert scored(command, "--keep", "id", "--summary", summary)["id"].to_pylist() == left
    assert json.loads(summary.read_text())["rows_in"] == len(left)
    assert scored(command, "--keep", "id", "--where", "id < 20")["id"].to_pylist() == [n for n in left if n < 20]
    assert scored(command, "--keep", "id", name=f"{NAME}@{first}")["id"].to_pylist() == list(range(300))
    assert "--limit counts rows of files" in command.run("--limit", 5, input=NAME)[2]


def test_what_is_wrong_is_told_in_a_line(command: Command, catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    assert "the catalog local has no table db.none; check the name" in command.error(input="iceberg://local/db.none")
    assert "the catalog local has no table no.none" in command.error(input="iceberg://local/no.none")
    for name in ("iceberg://local", "iceberg://local/t", "iceberg:///db.t", "iceberg://local/db.t@"):
        assert "is no table of a catalog; type iceberg://CATALOG/db.table" in command.error(input=name)
    error = command.error(input="iceberg://nowhere/db.t")
    assert "the catalog nowhere cannot be opened: URI missing" in error
    assert "--csv_header is for files" in command.error("--csv_header", "no", input=NAME)
    assert (
        told(ValueError("cannot reach postgresql://me:secret@host/db\nnow"))
        == "cannot reach postgresql://...@host/db now"
    )


def test_the_same_from_python(command: Command, catalog: Catalog, table: pa.Table):
    catalog.create_table("db.t", schema=table.schema).append(table)
    columns = {"x": list("abcd")}
    result = bs.score(
        NAME, command.model, columns=columns, keep=["id"], where="day = '2026-12-02'", limit=50, workers=1
    )
    assert result.to_arrow()["id"].to_pylist() == list(range(1, 50, 3))
