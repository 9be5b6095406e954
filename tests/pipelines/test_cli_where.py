"""`--where` on every format: the rows are those that are left where all are scored and chosen afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from tests.command import ROWS, Command

GIVEN = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.fixture
def table(command: Command) -> pa.Table:
    """The command's rows with a country and a day, which come together only now and then."""
    rng = np.random.default_rng(1)
    country = pa.array([("de", "fr", "it", None)[at] for at in rng.integers(0, 4, ROWS)])
    day = pa.array([f"2026-11-{1 + at % 28:02d}" for at in range(ROWS)]).cast(pa.date32())
    return command.table.append_column("country", country).append_column("day", day)


def write(table: pa.Table, path: Path) -> Path:
    kind = path.suffix
    if kind == ".parquet":
        pq.write_table(table, path, row_group_size=50)
    elif kind == ".csv":
        pa.csv.write_csv(table, path)
    elif kind == ".arrow":
        pa.feather.write_feather(table, path, compression="uncompressed")
    elif kind == ".orc":
        pa.orc.write_table(table, path)
    else:
        rows = ({**row, "day": str(row["day"])} for row in table.to_pylist())
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


WHERE = "day >= '2026-11-08' and country in ('de', 'fr') and not a < -1"


def wanted(table: pa.Table) -> list[int]:
    day = pc.greater_equal(table["day"].cast(pa.string()), "2026-11-08")
    country = pc.is_in(table["country"], pa.array(["de", "fr"]))
    return table.filter(pc.and_(pc.and_(day, country), pc.greater_equal(table["a"], -1)))["id"].to_pylist()


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl", "arrow", "orc"])
def test_rows_are_chosen_in_every_format(command: Command, table: pa.Table, extension: str):
    data = write(table, command.folder / f"t.{extension}")
    summary = command.folder / "s.json"
    code, _, err = command.run(*GIVEN, "--where", WHERE, "--summary", summary, input=data)
    assert code == 0, err
    rows = command.rows()
    assert rows.column_names == ["id", "y"] and rows["id"].to_pylist() == wanted(table)
    told = json.loads(summary.read_text())
    assert [told[name] for name in ("rows_in", "rows_scored", "rows_failed")] == [ROWS, len(rows), 0]
    assert told["rows_left_out"] == ROWS - len(rows) and told["plan"]["where"] == WHERE
    all_rows = command.run(*GIVEN, input=data)[0], command.rows()
    assert rows.equals(all_rows[1].filter(pc.is_in(all_rows[1]["id"], rows["id"].combine_chunks())))


def test_folders_and_fields_of_structs_are_columns_too(command: Command, table: pa.Table):
    folder = command.folder / "t"
    for month in (7, 10):
        (folder / f"month={month:02d}").mkdir(parents=True)
        image = pa.StructArray.from_arrays([pa.array(range(ROWS))], names=["width"])
        write(table.append_column("image", image), folder / f"month={month:02d}" / "t.parquet")
    code, _, err = command.run(*GIVEN, "--where", "month = 7 and image.width < 20", input=folder)
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(range(20))


@pytest.mark.parametrize("ways", [("--workers", 2, "--partition", "random"), ("--stages", 2, "--micro_batch", 8)])
def test_rows_are_chosen_however_the_model_is_run(command: Command, table: pa.Table, ways: tuple[object, ...]):
    code, _, err = command.run(*GIVEN, *ways, "--where", WHERE, input=write(table, command.folder / "t.parquet"))
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == wanted(table)


@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_no_row_is_an_output_without_rows(command: Command, table: pa.Table, extension: str):
    data = write(table, command.folder / f"t.{extension}")
    code, out, err = command.run(*GIVEN[:-1], "--where", "id < 0 or country = 'es'", input=data)
    assert code == 0, err
    assert "600 in, 0 scored, 0 failed, 600 left out by --where" in out
    assert pq.read_metadata(command.output).num_rows == 0


def test_the_first_rows_are_counted_before_the_condition(command: Command):
    code, _, err = command.run(*GIVEN[:-1], "--limit", 10, "--where", "id >= 4")
    assert code == 0 and "note: of the first 10 rows of the input, those are scored that --where keeps" in err
    assert command.rows()["id"].to_pylist() == list(range(4, 10))


def test_text_that_is_compared_is_read_as_what_it_is(command: Command):
    data = command.folder / "t.csv"
    data.write_text("id,age,zip,a,b,c,d\n1,30.5,007,0,0,0,0\n2,,008,0,0,0,0\n3,4,009,0,0,0,0\n")
    code, _, err = command.run("--keep", "id,age,zip", "--where", "age > 4 and zip < '009'", "--quiet", input=data)
    assert code == 0, err
    assert command.rows().select(["age", "zip"]).to_pylist() == [{"age": 30.5, "zip": "007"}]
    code, _, err = command.run("--keep", "id", "--where", "zip = 9", "--types", "zip:int64", input=data)
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == [3]


def test_wrong_conditions_are_told_before_the_job(command: Command):
    assert "names the column 'day', and the data has the columns id, a, b, c, d" in command.error(
        "--where", "day > '2026'"
    )
    assert "--where 'a >' is not understood" in command.error("--where", "a >")
    assert "the column 'id' is int64, and 'x' is no number" in command.error("--where", "id = 'x'")
    topic = "kafka://localhost:1/t"
    error = command.error("--where", "a > 1", input=topic, output="kafka://localhost:1/o")
    assert "--where is for an input of files, and --input kafka:" in error


def test_the_same_from_python(command: Command):
    result = bs.score(
        model=command.model,
        input=command.data,
        columns={"x": list("abcd")},
        keep=["id"],
        where="id between 3 and 5",
        workers=1,
    )
    assert sorted(result.to_arrow()["id"].to_pylist()) == [3, 4, 5]
    assert result.summary.rows_left_out == ROWS - 3
