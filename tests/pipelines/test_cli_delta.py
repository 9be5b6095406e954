"""`--input delta:PATH`, against the real library on a folder."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import beamsplit as bs
from tests.command import ROWS, Command
from tests.transforms.tables.logs import add, deleted, field, write_file, write_log

GIVEN = ("--workers", 1, "--worker_type", "thread", "--quiet")
KINDS = {
    "day": pa.array([dt.date(2026, 11, 1), dt.date(2026, 11, 2), None] * (ROWS // 3)),
    "country": pa.array(["de", "à b/c=%2F", None, "fr"] * (ROWS // 4)),
    "price": pa.array([Decimal("1.10"), Decimal("-2.00")] * (ROWS // 2), pa.decimal128(10, 2)),
    "at": pa.array([dt.datetime(2026, 11, 1, 12, 0, 0, 5), None] * (ROWS // 2), pa.timestamp("us", "UTC")),
    "ok": pa.array([True, None, False] * (ROWS // 3)),
}


@pytest.fixture
def table(command: Command) -> pa.Table:
    table = command.table
    for name, values in KINDS.items():
        table = table.append_column(name, values)
    return table


def scored(command: Command, *options: object, name: object) -> pa.Table:
    code, _, err = command.run(*GIVEN, *options, input=f"delta:{name}")
    assert code == 0, err
    return command.rows()


def test_columns_of_partitions_have_their_types_and_values(command: Command, table: pa.Table):
    folder = command.folder / "t"
    write_deltalake(folder, table, partition_by=list(KINDS))
    assert (
        scored(command, "--keep", "*", name=folder)
        .drop_columns("y")
        .equals(table.select(["id", "a", "b", "c", "d", *KINDS]))
    )


def test_a_version_has_the_files_that_it_had(command: Command, table: pa.Table):
    folder = command.folder / "t"
    for part in (table.slice(0, 300), table.slice(300)):
        write_deltalake(folder, part, mode="append")
    DeltaTable(folder).delete("id < 100")
    for version, rows in ((0, range(300)), (1, range(ROWS)), (2, range(100, ROWS))):
        assert scored(command, "--keep", "id", name=f"{folder}@{version}")["id"].to_pylist() == list(rows)
    assert scored(command, "--keep", "id", name=f"{folder}@2999-01-01T00:00:00Z")["id"].to_pylist() == list(
        range(100, ROWS)
    )
    assert scored(command, "--keep", "id", name=f"//{folder}")["id"].to_pylist() == list(range(100, ROWS))
    code, out, _ = command.run("--dry_run_plan", input=f"delta:{folder}")
    assert code == 0 and f"delta:{folder}, version 2, 2 files, 500 rows" in out


def test_files_that_cannot_hold_such_rows_are_not_read(command: Command, table: pa.Table):
    folder = command.folder / "t"
    for at in range(3):
        write_deltalake(folder, table.slice(at * 200, 200), mode="append", partition_by=["country"])
    where = "id between 250 and 330 and (country in ('de', 'à b/c=%2F') or country is null) and at is null"
    needed = {
        file
        for file in DeltaTable(folder).file_uris(file_pruning_predicate="id >= 200 and id < 400")
        if "fr" not in file
    }
    for file in DeltaTable(folder).file_uris():
        if file not in needed:
            Path(file).unlink()
    summary = command.folder / "s.json"
    rows = scored(command, "--keep", "id", "--where", where, "--summary", summary, name=folder)
    assert rows["id"].to_pylist() == [n for n in range(250, 331) if n % 4 != 3 and n % 2]
    told = json.loads(summary.read_text())
    assert (told["rows_in"], told["rows_left_out"]) == (ROWS, ROWS - len(rows))
    error = command.run(*GIVEN, input=f"delta:{folder}")
    assert error[0] == 2 and "is gone; was the table vacuumed?" in error[2]


def test_a_column_that_came_later_is_null_before(command: Command, table: pa.Table):
    folder = command.folder / "t"
    write_deltalake(folder, table.slice(0, 300).drop_columns("ok"))
    write_deltalake(folder, table.slice(300), mode="append", schema_mode="merge")
    rows = scored(command, "--keep", "id,ok", name=folder)
    assert rows["ok"].to_pylist() == [None] * 300 + table["ok"].to_pylist()[300:]
    assert scored(command, "--keep", "id", "--where", "ok is null", name=folder).num_rows == 400


def test_a_table_without_rows_gives_an_output_without_rows(command: Command, table: pa.Table):
    folder = command.folder / "t"
    write_deltalake(folder, table.slice(0, 10))
    DeltaTable(folder).delete()
    assert scored(command, "--keep", "id,day", name=folder).num_rows == 0
    write_deltalake(folder, table.slice(0, 10), mode="append")
    assert scored(command, "--keep", "id", "--where", "id > 50", name=folder).num_rows == 0


NAMES = {"id": ("col-1", 7), "a": ("b", 8), "b": ("a", 9), "c": ("c", 10), "d": ("col-2", 11)}


@pytest.mark.parametrize("mode", ["name", "id"])
def test_names_in_files_may_be_others(command: Command, mode: str):
    physical = command.table.rename_columns([NAMES[name][0] for name in command.table.column_names])
    if mode == "id":
        ids_of = dict(NAMES.values())
        fields = [f.with_metadata({b"PARQUET:field_id": str(ids_of[f.name])}) for f in physical.schema]
        # The names say nothing where there are numbers.
        physical = physical.cast(pa.schema(fields)).rename_columns(["x1", "x2", "x3", "x4", "x5"])
    folder = command.folder / "t"
    file = write_file(folder, "p.parquet", physical)
    fields = [field(name, "long" if name == "id" else "float", *NAMES[name]) for name in NAMES]
    configuration = {"delta__columnMapping__mode": mode, "delta__columnMapping__maxColumnId": "11"}
    write_log(folder, fields, [add("p.parquet", file)], ["columnMapping"], **configuration)
    rows = scored(command, "--keep", "*", "--where", "a > 0.5", name=folder)
    kept = command.table.filter(pa.compute.greater(command.table["a"], 0.5))
    assert rows.drop_columns("y").equals(kept)


def test_rows_that_are_deleted_by_vectors_are_no_rows(command: Command):
    folder, gone = command.folder / "t", [0, 5, 6, 7, 599]
    file = write_file(folder, "p.parquet", command.table)
    fields = [field(name, "long" if name == "id" else "float") for name in command.table.column_names]
    write_log(folder, fields, [add("p.parquet", file, {"deletionVector": deleted(gone)})], ["deletionVectors"])
    summary = command.folder / "s.json"
    rows = scored(command, "--keep", "id", "--summary", summary, name=folder)
    assert rows["id"].to_pylist() == [n for n in range(ROWS) if n not in gone]
    assert json.loads(summary.read_text())["rows_in"] == ROWS - len(gone)
    rows = scored(command, "--keep", "id", "--where", "id < 10", "--summary", summary, name=folder)
    assert rows["id"].to_pylist() == [1, 2, 3, 4, 8, 9]
    assert json.loads(summary.read_text())["rows_left_out"] == ROWS - len(gone) - 6
    code, _, err = command.run(*GIVEN, "--limit", 3, input=f"delta:{folder}")
    assert code == 2 and "has deleted rows in its files; leave --limit out" in err


@pytest.mark.parametrize(
    "path", ["../p.parquet", "a/../../p.parquet", "%2e%2e/p.parquet", "/etc/p.parquet", "s3://b/p.parquet"]
)
def test_files_elsewhere_are_refused(command: Command, path: str):
    file = write_file(command.folder, "p.parquet", command.table)
    fields = [field(name, "long" if name == "id" else "float") for name in command.table.column_names]
    write_log(command.folder / "t", fields, [add(path, file)])
    assert "which is not in the table's folder" in command.error(input=f"delta:{command.folder}/t")


def test_what_is_not_read_right_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch):
    file = write_file(command.folder / "t", "p.parquet", command.table)
    inner = {"type": "struct", "fields": [field("x", "long", "col-9", 9)]}
    mapped = {"delta__columnMapping__mode": "name", "delta__columnMapping__maxColumnId": "9"}
    fields = [field(name, "long" if name == "id" else "float", name, at) for at, name in enumerate(NAMES)]
    write_log(
        command.folder / "t",
        [*fields, field("s", inner, "s", 8)],
        [add("p.parquet", file)],
        ["columnMapping"],
        **mapped,
    )
    error = command.error("--keep", "s", input=f"delta:{command.folder}/t")
    assert "is of structs whose fields have other names in the table's files (column mapping)" in error
    assert scored(command, "--keep", "id", name=command.folder / "t").num_rows == ROWS
    monkeypatch.setitem(sys.modules, "deltalake", None)
    assert command.run(input="delta:t")[2].count("pip install 'beamsplit[delta]'") == 1


def test_what_is_wrong_is_told_in_a_line(command: Command, table: pa.Table):
    folder = command.folder / "t"
    assert f"there is no Delta table in {folder}" in command.error(input=f"delta:{folder}")
    assert "names no folder of a table" in command.error(input="delta:")
    write_deltalake(folder, table)
    assert f"delta:{folder}@7 cannot be read at version 7: " in command.error(input=f"delta:{folder}@7")
    assert "--encoding is for files" in command.error("--encoding", "latin-1", input=f"delta:{folder}")
    assert "names several systems" in command.error("--input", command.data, input=f"delta:{folder}")
    assert "names 2 tables" in command.error("--input", f"delta:{folder}", input=f"delta:{folder}")
    assert "names the column 'z', and the data has the columns" in command.error(
        "--where", "z > 1", input=f"delta:{folder}"
    )


def test_the_same_from_python(command: Command, table: pa.Table):
    folder = command.folder / "t"
    write_deltalake(folder, table, partition_by=["day"])
    columns = {"x": list("abcd")}
    result = bs.score(
        f"delta:{folder}", command.model, columns=columns, keep=["id", "day"], where="day = '2026-11-02'", limit=50
    )
    rows = result.to_arrow()
    assert set(rows["day"].to_pylist()) <= {dt.date(2026, 11, 2)}
    assert np.all(rows["id"].to_numpy() % 3 == 1)
