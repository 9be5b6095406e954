"""`--input sqlite:PATH#table` and `sql:FILE.sql`, against real files of SQLite."""

from __future__ import annotations

import datetime as dt
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from beamsplit.transforms.read.inputs import InputChanged
from beamsplit.transforms.sql import sqlite
from beamsplit.transforms.sql.database import Database
from beamsplit.transforms.sql.held import held_open
from beamsplit.transforms.sql.query import Asked
from tests.command import ROWS, Command, lines

GIVEN = ("--workers", 1, "--worker_type", "thread", "--quiet", "--num_shards", 1, "--narrow")


def execute(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.fixture
def database(command: Command) -> Path:
    """The rows of the command's table as `pets`, whose rowids are the ids times three."""
    path = command.folder / "a.db"
    execute(path, "CREATE TABLE pets (id INTEGER PRIMARY KEY, a REAL, b REAL, c REAL, d REAL)")
    with sqlite3.connect(path) as db:
        rows = [(row["id"] * 3, *(row[name] for name in "abcd")) for row in command.table.to_pylist()]
        db.executemany("INSERT INTO pets VALUES (?, ?, ?, ?, ?)", rows)
    db.close()
    return path


def scored(command: Command, name: object, *options: object, code: int = 0) -> tuple[list[int], str]:
    got, _, err = command.run(*GIVEN, "--keep", "id", *options, input=name)
    assert got == code, err
    return (command.rows()["id"].to_pylist() if code == 0 else []), err


def test_predictions_are_those_of_the_rows(command: Command, database: Path):
    ids, _ = scored(command, f"sqlite:{database}#pets")
    made = command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()
    assert ids == [3 * row for row in range(ROWS)]
    command.run(*GIVEN[:-1], "--keep", "id")
    assert made == command.rows()["y"].combine_chunks().to_numpy_ndarray().tolist()


@pytest.mark.parametrize(
    ("relation", "options"),
    [
        ("CREATE TABLE t AS SELECT *, id % 7 AS k FROM pets", ()),
        ("CREATE TABLE t AS SELECT *, id % 7 AS k FROM pets", ("--key", "k")),
        ("CREATE TABLE t AS SELECT *, CASE WHEN id % 4 THEN id END AS k FROM pets", ("--key", "k")),
        (
            "CREATE TABLE t AS SELECT *, iif(id % 3, 'x' || id, id * 1.5) AS k FROM pets",
            ("--key", "k"),
        ),
        ("CREATE TABLE t AS SELECT *, date('2026-01-01', '+' || id || ' days') AS k FROM pets", ("--key", "k")),
        ("CREATE VIEW t AS SELECT * FROM pets", ("--key", "id")),
        ("CREATE VIEW t AS SELECT * FROM pets", ()),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, rowid INT, a REAL, b REAL, c REAL, d REAL) WITHOUT ROWID", ()),
    ],
)
def test_each_row_is_read_once_whatever_ranges_are_of(command: Command, database: Path, monkeypatch, relation, options):
    monkeypatch.setattr(sqlite, "LEAST_ROWS", 40)
    monkeypatch.setattr("beamsplit.transforms.read.splits.LEAST_BYTES", 1)
    execute(database, relation)
    if "WITHOUT" in relation:
        execute(database, "INSERT INTO t SELECT id, 7, a, b, c, d FROM pets")
    ids, _ = scored(command, f"sqlite:{database}#t", *options, "--workers", 3)
    assert sorted(ids) == [3 * row for row in range(ROWS)]


def test_a_query_in_a_file_and_a_table_of_a_named_database(command: Command, database: Path, monkeypatch):
    query = command.folder / "q.sql"
    query.write_text('SELECT id, a, b, c, d AS "D" FROM pets WHERE id < 30 -- a comment\n;\n')
    monkeypatch.setenv("FOLDER", str(database.parent))
    monkeypatch.setenv("NAME", database.name)
    monkeypatch.setenv("PETS", "# where they are\nuri = sqlite:${FOLDER}/${env:NAME}\n")
    columns = ("--sql_config", "env:PETS", "--columns", "x=a,b,c,D")
    got, _, err = command.run(*GIVEN, "--keep", "id", *columns, input=f"sql:{query}", columns=None)
    assert got == 0 and command.rows()["id"].to_pylist() == list(range(0, 30, 3)), err
    assert scored(command, "sql:pets", *columns[:2])[0] == [3 * row for row in range(ROWS)]


def test_rows_are_kept_as_arrow_keeps_them(command: Command, database: Path):
    execute(
        database,
        "ALTER TABLE pets ADD COLUMN name TEXT COLLATE NOCASE",
        "UPDATE pets SET name = CASE WHEN id % 4 THEN char(65 + id % 7 + 32 * (id % 2)) END",
    )
    with sqlite3.connect(database) as db:
        rows = [row for row in db.execute("SELECT id, a, name FROM pets")]
    db.close()
    expected = [i for i, a, name in rows if 30 <= i < 900 and name is not None and (name < "a" or a > 0.5)]
    where = "id between 30 and 899 and (name < 'a' or not (a <= 0.5) and name is not null)"
    where += " and (id = 7 or id <> 7 and name like '%' or name is null)"  # of which not all can be asked there
    assert scored(command, f"sqlite:{database}#pets", "--where", where)[0] == expected
    assert scored(command, f"sqlite:{database}#pets", "--where", "name = 'a'")[0] == [i for i, _, n in rows if n == "a"]
    # Of the first rows those that it keeps, not the first that it keeps.
    some, _ = scored(command, f"sqlite:{database}#pets", "--limit", 10, "--key", "id", "--where", "id > 15")
    assert some == [18, 21, 24, 27]


def test_values_of_another_kind_fail_their_rows(command: Command, database: Path):
    execute(
        database,
        "UPDATE pets SET a = 'lots' WHERE id = 6",
        "UPDATE pets SET b = x'00' WHERE id = 9",
        "UPDATE pets SET c = NULL WHERE id = 12",
    )
    errors = command.folder / "errors.jsonl"
    ids, _ = scored(command, f"sqlite:{database}#pets", "--errors", errors)
    assert ids == [3 * row for row in range(ROWS) if row not in (2, 3, 4)]
    told = {line["row"]: line["reason"] for line in lines(errors)}
    assert sorted(told) == [6, 9, 12]
    assert told[6] == "column 'a' is no number that a float64 holds" and "null" in told[12]
    assert all(line["file"] == f"sqlite:{database}#pets" for line in lines(errors))


DECLARED: dict[str, tuple[str, Any]] = {
    "i INTEGER": ("9007199254740993", 2**53 + 1),
    "r REAL": ("0.1", 0.1),
    "n DECIMAL(10, 2)": ("12.5", 12.5),
    "t TEXT": ("'ä ''q'' \"d\"'", "ä 'q' \"d\""),
    "z BLOB": ("x'00ff'", b"\x00\xff"),
    "o BOOLEAN": ("1", True),
    "day DATE": ("'2026-11-01'", dt.date(2026, 11, 1)),
    "at TIMESTAMP": ("'2026-11-01 12:30:00'", dt.datetime(2026, 11, 1, 12, 30)),
    "free": ("'text'", "text"),
    '"od""d name"': ("5", 5),
}


def test_values_are_kept_as_they_are(command: Command, database: Path):
    names = [declared.rpartition(" ")[0] if "odd" not in declared else declared for declared in DECLARED]
    assert names[0] == "i"
    execute(database, f"CREATE TABLE kinds (id INTEGER, a REAL, b REAL, c REAL, d REAL, {', '.join(DECLARED)})")
    values = ", ".join(value for value, _ in DECLARED.values())
    execute(database, f"INSERT INTO kinds VALUES (1, 1, 1, 1, 1, {values})")
    execute(database, f"INSERT INTO kinds VALUES (2, 1, 1, 1, 1{', NULL' * len(DECLARED)})")
    code, _, err = command.run(*GIVEN, "--keep", "*", input=f"sqlite:{database}#kinds")
    assert code == 0, err
    first, second = command.rows().to_pylist()
    kept = [name for name in first if name not in {*"abcdy", "id"}]
    assert [first[name] for name in kept] == [value for _, value in DECLARED.values()]
    assert not any(second[name] is not None for name in kept)


def test_who_writes_meanwhile_ends_the_job(command: Command, database: Path):
    for mode in ("delete", "wal"):
        execute(database, f"PRAGMA journal_mode = {mode}")
        with held_open():
            found, _, _ = sqlite.describe(Asked(Database(f"sqlite:{database}"), "pets", ("pets",)))
            with sqlite.reading(found):
                pass
            execute(database, "UPDATE pets SET a = a + 1 WHERE id = 3")
            with pytest.raises(InputChanged, match="was written to while it was read"), sqlite.reading(found):
                pass
    assert len(scored(command, f"sqlite:{database}#pets")[0]) == ROWS  # in WAL


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("sqlite:{db}", (), r"names no table; type e.g. sqlite:data/pets.db#table"),
        ("sqlite:{db}#cats", (), r"there is no table cats in .*, it has pets; name one"),
        ("sqlite:nowhere.db#pets", (), r"there is no file nowhere.db; check the path"),
        ("sqlite:{model}#pets", (), r"file is not a database"),
        ("sqlite:{db}#a..b", (), r"'a..b' is no name of a table"),
        (
            "sqlite:{db}#pets",
            ("--key", "k"),
            r"--key names the column 'k', and .* has id, a, b, c, d; name one of them",
        ),
        ("sqlite:{db}#pets", ("--partition", "contiguous"), r"--partition contiguous cuts rows by their places"),
        ("sqlite:{db}#pets", ("--input_format", "csv"), r"--input_format is for files"),
        ("sqlite:{db}#pets", ("--sql_config", "nowhere"), r"cannot read 'nowhere'"),
        ("sqlite:{db}#pets", ("--sql_config", "env:NOWHERE"), r"the environment has no NOWHERE; export it"),
        ("sql:q.sql", (), r"sql:q.sql says no database: name a file with --sql_config"),
        ("{data}", ("--key", "id"), r"--key is for tables and queries of databases"),
        ("{data}", ("--sql_config", "x"), r"--sql_config is for databases, and neither --input nor --output"),
        ("postgresql://me:secret@h/db#t", (), r"--input has a password in the address of its database: leave it out"),
        ("postgres://me@h/db?password=secret#t", (), r"--input has a password in the address"),
        ("postgresql://me@127.0.0.1:9/db#t", (), r"the database postgresql://me@127.0.0.1:9/db cannot be reached"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(command: Command, database: Path, name, options, why):
    typed = name.format(db=database, model=command.model, data=command.data)
    err = command.error(*options, input=typed)
    assert re.search(why, err), err
    assert "secret" not in err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file has no query; write a SELECT into it"),
        ("SELEC 1", "syntax error"),
        ("SELECT id FROM cats", "no such table: .*cats"),
        ("DELETE FROM pets", "syntax error"),
    ],
)
def test_what_is_no_query_is_told_in_a_line(command: Command, database: Path, monkeypatch, text, why):
    (command.folder / "q.sql").write_text(text)
    monkeypatch.setenv("PETS", f"uri=sqlite:{database}")
    err = command.error("--sql_config", "env:PETS", input=f"sql:{command.folder}/q.sql")
    assert re.search(why, err), err
    assert os.path.getsize(database) and len(scored(command, f"sqlite:{database}#pets")[0]) == ROWS
