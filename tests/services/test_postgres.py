"""`--input postgresql://...#table` and `sql:FILE.sql`, against a real server."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from beamsplit.transforms.read import ReadOptions, read_all, split_file
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.sql import postgres as reader
from beamsplit.transforms.sql.database import Database
from beamsplit.transforms.sql.held import held_open
from beamsplit.transforms.sql.query import Asked
from tests.command import Command, lines
from tests.services.postgres import Postgres

ROWS = 3_000
GIVEN = ("--workers", 2, "--worker_type", "thread", "--quiet", "--num_shards", 1)

MAKE_PETS = f"""
CREATE TABLE pets AS SELECT i AS id, random()::real AS a, random()::real AS b, random()::real AS c, random()::real AS d,
  ARRAY[random(), random(), random(), random()]::real[] AS x, 'n' || i % 7 AS name, i % 5 AS small,
  CASE WHEN i % 3 > 0 THEN i END AS gaps, timestamp '2026-11-01' + i * interval '1 minute' AS at,
  md5(i::text)::uuid AS u, CASE WHEN i % 2 = 0 THEN 'NaN' ELSE i * 1.5 END::float8 AS f,
  (i % 1000 / 100.0)::numeric(6, 2) AS price
  FROM generate_series(1, {ROWS}) i
"""


@pytest.fixture(scope="module")
def pets(postgres: Postgres) -> Iterator[Postgres]:
    """The server with a table `pets` of 3,000 rows, a view, and a table in parts."""
    postgres.run(
        MAKE_PETS,
        "ALTER TABLE pets ADD PRIMARY KEY (id)",
        "CREATE VIEW pets_seen AS SELECT * FROM pets WHERE id <= 2000",
        "CREATE TABLE pets_parts (LIKE pets) PARTITION BY LIST (small)",
        *(f"CREATE TABLE pets_part_{k} PARTITION OF pets_parts FOR VALUES IN ({k})" for k in range(5)),
        "INSERT INTO pets_parts SELECT * FROM pets",
        "ANALYZE",
    )
    yield postgres


@pytest.fixture(autouse=True)
def small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beamsplit.transforms.read.splits.LEAST_BYTES", 1)
    monkeypatch.setattr(reader, "PIECES", 12)


def scored(command: Command, name: str, *options: object, columns: str = "x=x") -> list[int]:
    code, _, err = command.run(*GIVEN, "--keep", "id", *options, input=name, columns=columns)
    assert code == 0, err
    ids: list[int] = command.rows()["id"].to_pylist()
    return ids


@pytest.mark.parametrize("key", [None, "id", "name", "small", "gaps", "at", "u", "f", "price"])
def test_each_row_is_read_once_whatever_ranges_are_of(pets: Postgres, key: str | None):
    """Read in all its ranges, and in some of them together."""
    with held_open():
        query, size, _ = reader.describe(Asked(Database(pets.uri), "pets", ("public", "pets"), None, key))
        file = InputFile("pets", size, query=query)
        for target in (1, size // 3):
            splits = split_file(file, 0, "sql", target)
            assert len(splits) > 3
            options = ReadOptions(query.schema, ("id",))
            found = [row for part in read_all(splits, options) if part.block for row in part.block[0].to_pylist()]
            assert sorted(found) == list(range(1, ROWS + 1))


@pytest.mark.parametrize(
    ("table", "options", "rows"),
    [
        ("pets", (), ROWS),
        ("public.pets_parts", (), ROWS),
        ("pets_seen", (), 2000),
        ("pets_seen", ("--key", "name"), 2000),
        ("pets", ("--limit", 7, "--key", "id"), 7),
    ],
)
def test_tables_views_and_parts_are_read(command: Command, pets: Postgres, table: str, options: Any, rows: int):
    assert scored(command, f"{pets.uri}#{table}", *options) == list(range(1, rows + 1))


def test_columns_that_a_user_may_read_are_read(command: Command, pets: Postgres):
    """Pages are for who may read all of them."""
    pets.run("DROP TABLE IF EXISTS closed", "CREATE TABLE closed AS SELECT id, x, u FROM pets LIMIT 50")
    pets.run("DROP ROLE IF EXISTS lessee", "CREATE ROLE lessee LOGIN", "GRANT SELECT (id, x) ON closed TO lessee")
    assert len(scored(command, f"{pets.uri.replace('tester@', 'lessee@')}#closed")) == 50
    pets.run("DROP TABLE closed")


def test_a_query_is_read_as_one_or_in_ranges(command: Command, pets: Postgres, monkeypatch):
    query = command.folder / "q.sql"
    query.write_text("SELECT id, x, name -- those\nFROM pets WHERE id <= 300 -- and no others\n;\n")
    monkeypatch.setenv("PETS", f"uri={pets.uri}\npassword=${{PETS_PASSWORD}}")
    monkeypatch.setenv("PETS_PASSWORD", "open sesame")
    given = ("--sql_config", "env:PETS")
    assert scored(command, f"sql:{query}", *given) == list(range(1, 301))
    assert scored(command, f"sql:{query}", *given, "--key", "name") == list(range(1, 301))
    code, out, err = command.run(*GIVEN[:-3], "--dry_run_plan", *given, input=f"sql:{query}", columns="x=x")
    assert code == 0 and "is read by one worker, as it is a query; name a column with --key" in out
    assert "sesame" not in out + err and f"of {pets.uri}" in out


CONDITIONS = (
    "id < 100 or id in (2000, 2001)",
    "not (f <= 30) and id < 100",
    "f = 4.5 or isnan(f) and id < 50",
    "price >= 9.995 and name != 'n3'",
    "not (name > 'n2' or gaps is null)",
    "at between '2026-11-01 10:00:00' and '2026-11-01 11:00:00'",
    "a > 0.25 and not (b < 0.5 and small = 3)",
    "name like 'n_' and id < 20",
)


def test_rows_are_kept_as_arrow_keeps_them(pets: Postgres):
    from beamsplit.transforms.where import bind_where, parse_where

    with held_open():
        query, size, _ = reader.describe(Asked(Database(pets.uri), "pets", ("pets",)))
        splits = split_file(InputFile("pets", size, query=query), 0, "sql", size // 4)
        for text in CONDITIONS:
            where = bind_where(parse_where(text), query.schema)
            results = list(read_all(splits, ReadOptions(query.schema, ("id",), where=where)))
            kept = sorted(row for part in results if part.block for row in part.block[0].to_pylist())
            asked = text.replace("isnan(f)", "f = 'NaN'").replace("not (f <= 30)", "(not (f <= 30) or f = 'NaN')")
            assert kept == [row[0] for row in pets.run(f"SELECT id FROM pets WHERE {asked} ORDER BY id")], text
            read = sum(part.left_out for part in results) + len(kept)
            assert read < ROWS or "like" in text, "the database leaves out most"


def test_all_workers_see_the_state_that_was_planned(pets: Postgres):
    pets.run("DROP TABLE IF EXISTS moving", "CREATE TABLE moving AS SELECT i AS id FROM generate_series(1, 3000) i")
    with held_open():
        query, size, _ = reader.describe(Asked(Database(pets.uri), "moving", ("moving",)))
        splits = split_file(InputFile("moving", size, query=query), 0, "sql", 1)
        pets.run("UPDATE moving SET id = -id", "INSERT INTO moving SELECT 10000 + i FROM generate_series(1, 3000) i")
        pets.run("DELETE FROM moving WHERE id % 2 = 0")
        found = [row for part in read_all(splits, ReadOptions(query.schema)) if part.block for row in part.block[0]]
        assert sorted(value.as_py() for value in found) == list(range(1, 3001))


TYPES: dict[str, tuple[str, Any]] = {
    "smallint": ("-3", -3),
    "bigint": ("9007199254740993", 2**53 + 1),
    "float8": ("'-Infinity'", float("-inf")),
    "numeric(10,2)": ("12.50", Decimal("12.50")),
    "numeric": ("0.125", 0.125),
    "text": ("'ä ''q''\t\"d\"'", "ä 'q'\t\"d\""),
    "char(4)": ("'ab'", "ab  "),
    "bytea": (r"'\x00ff'", b"\x00\xff"),
    "boolean": ("true", True),
    "date": ("'2026-11-01'", dt.date(2026, 11, 1)),
    "timestamp": ("'2026-11-01 12:30:00.25'", dt.datetime(2026, 11, 1, 12, 30, 0, 250000)),
    "timestamptz": ("'2026-11-01 12:30:00+02'", dt.datetime(2026, 11, 1, 10, 30, tzinfo=dt.timezone.utc)),
    "time": ("'12:30:00'", dt.time(12, 30)),
    "json": ("""'{"a": [1]}'""", '{"a": [1]}'),
    "jsonb": ("""'{"a":[1]}'""", '{"a": [1]}'),
    "uuid": ("'0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad'", "0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad"),
    "mood": ("'glad'", "glad"),
    "interval": ("'1 day'", "1 day"),
    "inet": ("'10.0.0.1'", "10.0.0.1/32"),
    "integer[]": ("'{1,NULL,3}'", [1, None, 3]),
    "text[]": ("""'{"a,b",NULL}'""", ["a,b", None]),
    "numeric[]": ("'{0.5}'", [0.5]),
    "uuid[]": ("'{0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad}'", ["0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad"]),
    "vector": ("ROW(ARRAY[1, 2]::real[])::vector", [1.0, 2.0]),
}


def test_values_are_kept_as_they_are(command: Command, pets: Postgres):
    # Stands in for pgvector's type, which has such a cast too.
    vector = ("CREATE TYPE vector AS (v real[])", "CREATE FUNCTION flat(vector) RETURNS real[] IMMUTABLE LANGUAGE sql "
              "AS 'SELECT ($1).v'", "CREATE CAST (vector AS real[]) WITH FUNCTION flat(vector)")  # fmt: skip
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(TYPES))
    drop = [
        f"DROP {what} CASCADE" for what in ("TABLE IF EXISTS kinds", "TYPE IF EXISTS mood", "TYPE IF EXISTS vector")
    ]
    pets.run(*drop, "CREATE TYPE mood AS ENUM ('glad')", *vector, f"CREATE TABLE kinds (id int, x real[], {columns})")
    pets.run(
        f"INSERT INTO kinds VALUES (1, '{{1,2,3,4}}', {', '.join(value for value, _ in TYPES.values())})",
        "INSERT INTO kinds (id, x) VALUES (2, '{1,2,3,4}')",
        "INSERT INTO kinds (id, x) VALUES (3, '{{1,2},{3,4}}')",
        "INSERT INTO kinds (id, x, c10) VALUES (4, '{1,2,3,4}', 'infinity')",
        "INSERT INTO kinds (id, x) VALUES (5, '{1,2,3}')",
    )
    errors = command.folder / "errors.jsonl"
    given = (*GIVEN[:-1], 1, "--keep", "*", "--errors", errors)
    code, _, err = command.run(*given, input=f"{pets.uri}#kinds", columns="x=x")
    assert code == 0, err
    first, second = command.rows().to_pylist()
    assert [first[f"c{at}"] for at in range(len(TYPES))] == [value for _, value in TYPES.values()]
    assert not any(second[f"c{at}"] is not None for at in range(len(TYPES)))
    told = " ".join(line["reason"] for line in lines(errors))
    assert "'x' is an array of several dimensions" in told and "'c10' is infinity" in told and len(lines(errors)) == 3


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("{uri}", (), "names no table; type e.g. postgresql://host/db#schema.table"),
        ("{uri}#cats", (), "there is no table cats in postgresql://"),
        ("{uri}#Pets", (), "there is no table Pets in .*; there is pets; type"),
        ("{uri}#pets_pkey", (), "pets_pkey is no table, view or query"),
        ("{uri}#pets", ("--key", "k"), "--key names the column 'k', and .* has id, a, b, "),
        ("{uri}#pets", ("--where", "k = 1"), "--where names the column 'k'"),
        ("{reader}#pets", (), "the user reader may not read it; let its owner say GRANT SELECT ON"),
        ("{nobody}#pets", (), 'role "nobody" does not exist'),
        ("{uri}?sslmode=require#pets", (), "server does not support SSL"),
        ("{uri}?password=secret#pets", (), "has a password in the address of its database"),
        ("sql:{folder}/bad.sql", ("--sql_config", "env:PETS"), 'relation "cats" does not exist'),
        ("sql:{folder}/twice.sql", ("--sql_config", "env:PETS"), "several columns named 'id'; give each its own name"),
        ("sql:{folder}/change.sql", ("--sql_config", "env:PETS"), "syntax error|read-only|not allowed"),
        ("sql:pets", ("--sql_config", "env:WRONG"), "cannot be reached: .*invalid URI query parameter"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(command: Command, pets: Postgres, monkeypatch, name, options, why):
    pets.run("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    for file, text in {
        "bad": "SELECT 1 FROM cats",
        "twice": "SELECT id, id FROM pets",
        "change": "DELETE FROM pets",
    }.items():
        (command.folder / f"{file}.sql").write_text(text)
    monkeypatch.setenv("PETS", f"uri={pets.uri}")
    monkeypatch.setenv("WRONG", f"uri={pets.uri}\npassword=secret\nsslmod=require")
    users = {who: pets.uri.replace("tester@", f"{who}@") for who in ("reader", "nobody")}
    err = command.error(*options, input=name.format(uri=pets.uri, folder=command.folder, **users), columns="x=x")
    assert re.search(why, err), err
    assert "secret" not in err
