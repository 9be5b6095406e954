"""`--input iceberg://` of tables whose rows are deleted by values (equality deletes), or by deletion vectors."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

import beamsplit as bs
from tests.command import ROWS, Command
from tests.onnx_models import mlp, save
from tests.pipelines.local_catalog import local_catalog
from tests.transforms.tables.iceberg_deletes import add_deletes, delete_by_vector, delete_positions

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet", "--num_shards", 1)
NAME = "iceberg://local/db.t"


@pytest.fixture
def catalog(command: Command, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    return local_catalog(command.folder / "lake", monkeypatch)


@pytest.fixture
def table(command: Command) -> pa.Table:
    """Ids, numbers that may be null and NaN, texts, days, and the model's columns."""
    ids = np.arange(ROWS)
    number = pa.array([None if n % 5 == 0 else float("nan") if n % 5 == 1 else -0.0 + n % 5 for n in ids], pa.float64())
    return (
        command.table.append_column("number", number)
        .append_column("text", pa.array([None if n % 7 == 0 else f"t{n % 7}" for n in ids]))
        .append_column("day", pa.array([datetime.date(2026, 11, 1 + n % 28) for n in ids]))
        .append_column("small", pa.array(ids % 10, pa.int32()))
    )


def ids(command: Command, *options: object) -> list[int]:
    code, _, err = command.run(*GIVEN, *options, input=NAME)
    assert code == 0, err
    found: list[int] = command.rows()["id"].to_pylist()
    return found


def by_values(made: Any, rows: dict[str, pa.Array], partition: tuple[Any, ...] = ()) -> None:
    numbers = [made.schema().find_field(name).field_id for name in rows]
    fields = [
        pa.field(name, column.type, metadata={"PARQUET:field_id": str(number)})
        for (name, column), number in zip(rows.items(), numbers, strict=True)
    ]
    deletes = pa.Table.from_arrays(list(rows.values()), schema=pa.schema(fields))
    add_deletes(made, deletes, DataFileContent.EQUALITY_DELETES, partition, numbers)


def test_older_rows_of_the_values_are_none(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 300))
    by_values(made, {"id": pa.array([1, 2, 599, None], pa.int64())})
    made.append(table.slice(300))  # younger than what deletes 599
    by_values(made, {"number": pa.array([None, 4.0]), "text": pa.array([None, "t3"])})
    by_values(made, {"day": pa.array([datetime.date(2026, 11, 28)])})
    gone = {1, 2} | {n for n in range(ROWS) if n % 28 == 27}
    gone |= {n for n in range(ROWS) if n % 35 == 0 or (n % 5, n % 7) == (4, 3)}
    left = [n for n in range(ROWS) if n not in gone]
    summary = command.folder / "s.json"
    assert ids(command, "--summary", summary) == left
    assert json.loads(summary.read_text())["rows_in"] == len(left)
    assert ids(command, "--where", "id between 20 and 60") == [n for n in left if 20 <= n <= 60]
    assert "--limit counts rows of files" in command.run("--limit", 5, input=NAME)[2]


def test_nan_is_like_nan_and_small_numbers_like_large_ones(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table)
    by_values(made, {"number": pa.array([float("nan")])})
    with made.update_schema() as schema:
        schema.update_column("small", LongType())
    by_values(made, {"small": pa.array([3], pa.int64())})
    by_values(made, {"small": pa.array([4], pa.int32())})
    assert ids(command) == [n for n in range(ROWS) if n % 5 != 1 and n % 10 not in (3, 4)]


def test_columns_are_known_by_their_numbers(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table)
    with made.update_schema() as schema:
        schema.rename_column("text", "words").add_column("later", LongType())
    by_values(made, {"words": pa.array(["t1"])})
    by_values(made, {"later": pa.array([7], pa.int64()), "id": pa.array([0], pa.int64())})
    by_values(made, {"later": pa.array([None], pa.int64()), "id": pa.array([9], pa.int64())})
    with made.update_schema() as schema:
        schema.delete_column("words").add_column("text", LongType())
    assert ids(command) == [n for n in range(ROWS) if n % 7 != 1 and n != 9]


def test_values_go_for_their_partition(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 100))
    with made.update_spec() as spec:
        spec.add_field("small", IdentityTransform(), "small")
    made.append(table.slice(100))
    by_values(made, {"text": pa.array(["t1"])}, (3,))
    by_values(made, {"small": pa.array([5], pa.int32())}, (5,))
    assert ids(command) == [n for n in range(ROWS) if n < 100 or (not (n % 10 == 3 and n % 7 == 1) and n % 10 != 5)]


def test_rows_that_are_replaced_are_those_that_are_left(command: Command, catalog: Catalog):
    command.overwrite = False
    name = "iceberg://local/db.preds"
    given = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")
    command.run(*given, output=name)
    by_values(catalog.load_table("db.preds"), {"id": pa.array([0, 1, 2], pa.int64())})
    code, _, err = command.run(*given, "--where", "id between 2 and 5", "--merge_on", "id", output=name)
    assert code == 0, err
    model = save(mlp(2), command.folder / "two.onnx")
    found = bs.score(name, model, columns={"x": ["y"]}, keep=["id"], workers=1).to_arrow()
    assert sorted(found["id"].to_pylist()) == list(range(2, ROWS))


def test_deletion_vectors(command: Command, catalog: Catalog, table: pa.Table):
    made = catalog.create_table("db.t", schema=table.schema)
    made.append(table.slice(0, 300))
    (one,) = (task.file.file_path for task in made.scan().plan_files())
    made.append(table.slice(300))
    (two,) = {task.file.file_path for task in made.scan().plan_files()} - {one}
    delete_positions(made, {one: [5]})
    delete_by_vector(made, {one: [0, 5, 299], two: range(0, 300, 2)})
    left = [n for n in range(ROWS) if n not in (0, 5, 299) and (n < 300 or n % 2)]
    assert ids(command) == left
    delete_by_vector(made, {one: [1]}, damaged=True)
    assert "its deletion vector is damaged" in command.run(*GIVEN, input=NAME)[2]
