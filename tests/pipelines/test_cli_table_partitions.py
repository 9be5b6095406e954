"""Tables that are partitioned are written, and rows of some are replaced: Delta and Iceberg, by the real libraries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform

from tests.command import ROWS, Command, lines
from tests.pipelines.local_catalog import local_catalog

GIVEN = ("--workers", 1, "--worker_type", "thread", "--quiet")
KEPT = {
    "day": pa.array([dt.date(2026, 11, 1), dt.date(1969, 12, 31), None] * (ROWS // 3)),
    "country": pa.array(["de", "à b/c=%2F'\"", None, "fr"] * (ROWS // 4)),
    "price": pa.array([Decimal("1.10"), Decimal("-2.00")] * (ROWS // 2), pa.decimal128(10, 2)),
    "at": pa.array([dt.datetime(2026, 11, 1, 12, 0, 0, 5), dt.datetime(1969, 1, 1)] * (ROWS // 2), pa.timestamp("us")),
    "ok": pa.array([True, None, False] * (ROWS // 3)),
    "n": pa.array([*range(3), None, -1] * (ROWS // 5), pa.int32()),
}


class System(NamedTuple):
    """A table of one format, empty, with the columns id, KEPT and y."""

    name: str
    make: Callable[..., None]
    rows: Callable[[], pa.Table]
    """By id."""

    files: Callable[[], set[str]]
    lying: Callable[[], set[str]]


def columns() -> pa.Schema:
    kept = [pa.field(name, values.type) for name, values in KEPT.items()]
    return pa.schema([pa.field("id", pa.int64()), *kept, pa.field("y", pa.list_(pa.float32()))])


@pytest.fixture
def delta(command: Command) -> System:
    path = command.folder / "t"

    def make(*by: str) -> None:
        write_deltalake(path, columns().empty_table(), partition_by=list(by))

    return System(
        f"delta:{path}",
        make,
        lambda: pa.table(DeltaTable(path).to_pyarrow_table()).sort_by("id"),
        lambda: {Path(file).name for file in DeltaTable(path).file_uris()},
        lambda: {one.name for one in path.iterdir()} - {"_delta_log"},
    )


@pytest.fixture
def catalog(command: Command, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    return local_catalog(command.folder / "lake", monkeypatch)


@pytest.fixture
def iceberg(command: Command, catalog: Catalog) -> System:
    def make(*by: str, **transforms: Any) -> None:
        made = catalog.create_table("db.t", schema=columns())
        with made.update_spec() as spec:
            for name, transform in {**dict.fromkeys(by, IdentityTransform()), **transforms}.items():
                spec.add_field(name, transform, f"by_{name}")

    def table():
        return catalog.load_table("db.t")

    return System(
        "iceberg://local/db.t",
        make,
        lambda: table().scan().to_arrow().sort_by("id").cast(columns()),
        lambda: {Path(task.file.file_path).name for task in table().scan().plan_files()},
        lambda: {one.name for one in (command.folder / "lake" / "db" / "t" / "data").iterdir()},
    )


@pytest.fixture
def data(command: Command) -> pa.Table:
    command.overwrite = False
    data = command.table
    for name, values in KEPT.items():
        data = data.append_column(name, values)
    pq.write_table(data, command.data, row_group_size=100)
    return data


def run(command: Command, system: System, *options: object, code: int = 0, **changed: object) -> str:
    keep = ",".join(["id", *KEPT])
    got, _, err = command.run(*GIVEN, "--keep", keep, *options, output=system.name, **changed)
    assert got == code, err
    return err


@pytest.fixture(params=["delta", "iceberg"])
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("by", [("country",), ("day", "ok"), ("price", "at", "n")])
def test_rows_of_a_file_are_of_one_partition(command: Command, data: pa.Table, system: System, by: tuple[str, ...]):
    system.make(*by)
    run(command, system, "--append")
    made = system.rows()
    for name in ("id", *KEPT):
        assert made[name].to_pylist() == data[name].to_pylist(), name
    number = len(set(zip(*(data[name].to_pylist() for name in by), strict=True)))
    assert len(system.files()) == number and system.files() == system.lying()


@pytest.mark.parametrize(
    "transforms",
    [
        {"day": DayTransform(), "n": BucketTransform(4)},
        {"at": DayTransform(), "country": BucketTransform(3)},
        {"country": TruncateTransform(1), "price": BucketTransform(2)},
        {"id": BucketTransform(5)},
    ],
)
def test_partitions_of_iceberg_are_found_by_its_own_scan(
    command: Command, data: pa.Table, iceberg: System, catalog: Catalog, transforms: dict[str, Any]
):
    iceberg.make(**transforms)
    run(command, iceberg, "--append")
    table = catalog.load_table("db.t")
    assert iceberg.rows()["id"].to_pylist() == list(range(ROWS))
    # The library leaves out files by their partitions: all rows are found by the values of theirs.
    for condition, kept in {
        "n = 0": pc.equal(data["n"], 0),
        "n is null": pc.is_null(data["n"]),
        "country = 'fr'": pc.equal(data["country"], "fr"),
        "day = '1969-12-31'": pc.equal(data["day"], dt.date(1969, 12, 31)),
        "at < '1970-01-01T00:00:00'": pc.less(data["at"], dt.datetime(1970, 1, 1)),
        "id = 17": pc.equal(data["id"], 17),
    }.items():
        found = table.scan(row_filter=condition).to_arrow()["id"].to_pylist()
        assert sorted(found) == data.filter(kept)["id"].to_pylist(), condition
    specs = {task.file.spec_id for task in table.scan().plan_files()}
    assert specs == {table.spec().spec_id} and iceberg.files() == iceberg.lying()


def test_an_empty_text_fails_where_delta_would_make_it_a_null(command: Command, data: pa.Table, delta: System):
    delta.make("country")
    at = data.schema.get_field_index("country")
    changed = data.set_column(at, "country", pa.array(["", *data["country"].to_pylist()[1:]]))
    pq.write_table(changed, command.data)
    errors = command.folder / "e.jsonl"
    run(command, delta, "--append", "--errors", errors)
    (failed,) = lines(errors)
    assert (
        failed["row"] == 0 and "column 'country' is an empty text, which a Delta table partitioned" in failed["reason"]
    )
    assert delta.rows()["id"].to_pylist() == list(range(1, ROWS))


@pytest.mark.parametrize("by", [(), ("country",)])
def test_rows_of_a_condition_are_replaced(command: Command, data: pa.Table, system: System, by: tuple[str, ...]):
    system.make(*by)
    run(command, system, "--append", "--where", "id < 400")
    before, files = system.rows(), system.files()
    twice = command.folder / "twice.parquet"
    pq.write_table(data.set_column(1, "a", pc.multiply(data["a"], pa.scalar(2, pa.float32()))), twice)
    condition = "country = 'fr' or id between 90 and 109"
    errors = command.folder / "e.jsonl"
    run(
        command,
        system,
        "--overwrite_where",
        condition,
        "--where",
        "id between 80 and 120",
        "--errors",
        errors,
        input=twice,
    )
    # Of the new rows those fail that the condition is not true for.
    new = [n for n in range(80, 121) if n % 4 == 3 or 90 <= n <= 109]
    assert {line["row"] for line in lines(errors)} == set(range(80, 121)) - set(new)
    assert all("is none of the rows that --overwrite_where replaces" in line["reason"] for line in lines(errors))
    stay = [n for n in range(400) if not (n % 4 == 3 or 90 <= n <= 109)]
    after = system.rows()
    assert after["id"].to_pylist() == sorted([*stay, *new])
    old = after.filter(pc.is_in(after["id"], pa.array(stay)))
    assert old.equals(before.filter(pc.is_in(before["id"], pa.array(stay))))
    changed = after.filter(pc.is_in(after["id"], pa.array(new)))["y"]
    assert not changed.equals(before.filter(pc.is_in(before["id"], pa.array(new)))["y"])
    # Earlier versions have their files yet, and nothing else lies there.
    assert system.lying() == files | system.files()


def test_rows_of_the_same_key_are_replaced_in_iceberg(command: Command, data: pa.Table, iceberg: System):
    iceberg.make("country")
    kept = "country is not null and id between"
    run(command, iceberg, "--merge_on", "id,country", "--where", f"{kept} 0 and 99")
    first = iceberg.rows()
    twice = command.folder / "twice.parquet"
    pq.write_table(data.set_column(1, "a", pc.multiply(data["a"], pa.scalar(2, pa.float32()))), twice)
    run(command, iceberg, "--merge_on", "id,country", "--where", f"{kept} 50 and 149", input=twice)
    merged = iceberg.rows()
    new = [n for n in range(50, 150) if n % 4 != 2]
    same = [n for n in range(50) if n % 4 != 2]
    assert merged["id"].to_pylist() == same + new
    pick = pc.is_in(merged["id"], pa.array(same))
    assert merged.filter(pick).equals(first.filter(pc.is_in(first["id"], pa.array(same))))
    pq.write_table(pa.concat_tables([data.slice(0, 3)] * 2), twice)
    err = run(command, iceberg, "--merge_on", "id", code=1, input=twice)
    assert "--merge_on id: several rows have the same" in err and err.count("\n") == 1
    assert iceberg.rows().equals(merged)


def test_what_is_merged_keeps_its_partition_in_delta(command: Command, data: pa.Table, delta: System):
    delta.make("country")
    run(command, delta, "--merge_on", "id", "--where", "id < 100")
    run(command, delta, "--merge_on", "id", "--where", "id between 50 and 149")
    made = delta.rows()
    assert made["id"].to_pylist() == list(range(150))
    assert made["country"].to_pylist() == data["country"].to_pylist()[:150]
    err = run(command, delta, "--overwrite", "--where", "id < 10")
    assert err == "" and delta.rows()["country"].to_pylist() == data["country"].to_pylist()[:10]


def test_a_condition_that_replaces_nothing_adds(command: Command, data: pa.Table, system: System):
    system.make("ok")
    run(command, system, "--overwrite_where", "id < 10", "--where", "id < 10")
    run(command, system, "--overwrite_where", "id >= 10", "--where", "id between 10 and 19")
    assert system.rows()["id"].to_pylist() == list(range(20))
    run(command, system, "--overwrite_where", "id >= 0", "--where", "id < 0")
    assert system.rows().num_rows == 0
