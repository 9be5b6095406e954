"""Databases of other ADBC drivers, which --sql_config names: DuckDB's comes with its package."""

from __future__ import annotations

from pathlib import Path

import adbc_driver_duckdb
import duckdb
import pytest

from tests.command import Command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The settings of a database with a table `pets` of 300 rows."""
    with duckdb.connect(str(tmp_path / "pets.duckdb")) as database:
        numbers = ", ".join(f"(i % {at})::FLOAT AS {name}" for at, name in enumerate("abcd", 3))
        database.execute(f"CREATE TABLE pets AS SELECT i::BIGINT AS id, {numbers} FROM range(300) rows(i)")
    path = tmp_path / "pets.cfg"
    driver = adbc_driver_duckdb.driver_path()
    path.write_text(f"driver={driver}\nentrypoint=duckdb_adbc_init\npath={tmp_path}/pets.duckdb\n")
    return path


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (("sql:pets",), range(300)),
        (("sql:pets", "--where", "id >= 290"), range(290, 300)),
        (("sql:{folder}/q.sql", "--limit", "7"), range(7)),
    ],
)
def test_a_table_and_a_query_of_duckdb(command: Command, config: Path, given: tuple[str, ...], ids: range):
    (command.folder / "q.sql").write_text("SELECT * FROM pets ORDER BY id")
    name, *options = (one.format(folder=command.folder) for one in given)
    code, _, err = command.run(*options, "--quiet", "--sql_config", config, "--keep", "id", "--workers", 1, input=name)
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(ids)


def test_what_is_not_there_and_what_is_not_written(command: Command, config: Path):
    assert "Table with name none does not exist" in command.error("--sql_config", config, input="sql:none")
    refused = "tables of PostgreSQL and SQLite are written, and the driver is"
    assert refused in command.error("--sql_config", config, output="sql:pets")
