"""`--output postgresql://...#table`, against a real server, with kills and with others who write."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.sql import postgres_write
from tests.command import ROWS, Command, lines
from tests.services.postgres import Postgres
from tests.services.streams import ROOT
from tests.waiting import wait_until

GIVEN = ("--keep", "id", "--workers", 2, "--worker_type", "thread", "--quiet")


@pytest.fixture
def server(command: Command, postgres: Postgres) -> Postgres:
    """The server, without what another test has made."""
    command.overwrite = False
    postgres.run("DROP TABLE IF EXISTS preds CASCADE", "DROP TABLE IF EXISTS beamsplit_commits")
    return postgres


def run(command: Command, server: Postgres, *options: object, code: int = 0, **changed: object) -> str:
    got, _, err = command.run(*GIVEN, *options, **{"output": f"{server.uri}#preds", **changed})
    assert got == code, err
    assert not staging(server)
    return err


def ids(server: Postgres) -> list[int]:
    return [row[0] for row in server.run("SELECT id FROM preds ORDER BY id")]


def staging(server: Postgres) -> list[tuple[Any, ...]]:
    return server.run("SELECT relname::text FROM pg_class WHERE starts_with(relname::text, 'beamsplit_stage_')")


def test_a_table_is_made_added_to_replaced_and_merged(command: Command, server: Postgres):
    run(command, server)
    assert ids(server) == list(range(ROWS))
    command.run(*GIVEN, "--overwrite")
    made = np.array([row[0] for row in server.run("SELECT y FROM preds ORDER BY id")], np.float32)
    assert (made == command.rows()["y"].combine_chunks().to_numpy_ndarray()).all()
    assert "is there already; add --append to add the rows" in run(command, server, code=2)
    run(command, server, "--append", "--where", "id < 10", "--commit_id", "n-1")
    assert len(ids(server)) == ROWS + 10
    code, _, err = command.run(*GIVEN[:-1], "--append", "--commit_id", "n-1", output=f"{server.uri}#public.preds")
    assert code == 0 and "has the rows of --commit_id n-1 already" in err and len(ids(server)) == ROWS + 10
    server.run("CREATE VIEW seen AS SELECT id FROM preds", "CREATE INDEX ON preds (id)")
    run(command, server, "--overwrite", "--where", "id < 20")
    assert [row[0] for row in server.run("SELECT id FROM seen ORDER BY id")] == list(range(20))
    before = server.run("SELECT y FROM preds WHERE id < 10 ORDER BY id")
    twice = command.table.set_column(1, "a", pa.array(command.table["a"].to_numpy() * 2))
    pq.write_table(twice, command.folder / "twice.parquet")
    run(command, server, "--merge_on", "id", "--where", "id between 10 and 29", input=command.folder / "twice.parquet")
    assert ids(server) == list(range(30)) and server.run("SELECT y FROM preds WHERE id < 10 ORDER BY id") == before
    told = server.run("SELECT rows, job = 'n-1', length(model_version) FROM beamsplit_commits ORDER BY committed_at")
    assert told == [(ROWS, False, 12), (10, True, 12), (20, False, 12), (20, False, 12)]


def test_a_table_keeps_its_types_and_defaults(command: Command, server: Postgres):
    server.run(
        "CREATE TABLE preds (serial bigserial PRIMARY KEY, y float8[] NOT NULL, id smallint, t uuid, j jsonb, "
        "made timestamptz NOT NULL DEFAULT now(), price numeric(8,2))"
    )
    data = command.table.slice(0, 3).append_column("t", pa.array(["0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad"] * 3))
    data = data.append_column("j", pa.array(['{"a": 1}', None, "[]"])).append_column(
        "price", pa.array([1.5, None, 2.25])
    )
    pq.write_table(data, command.folder / "kept.parquet")
    run(command, server, "--append", "--keep", "id,t,j,price", input=command.folder / "kept.parquet")
    found = server.run("SELECT id, t::text, j::text, price::text, array_length(y, 1) FROM preds ORDER BY id")
    uuid = "0af4bb3c-7e3b-4c9d-b1f5-1f6ba2f5d8ad"
    assert found == [(0, uuid, '{"a": 1}', "1.50", 2), (1, uuid, None, None, 2), (2, uuid, "[]", "2.25", 2)]


def test_rows_that_do_not_fit_fail(command: Command, server: Postgres):
    server.run("CREATE TABLE preds (y real[], id smallint, note text)")
    data = command.table.set_column(0, "id", pa.array([10**6, *range(1, ROWS)]))
    data = data.append_column("note", pa.array(["", "a\0b", *["x"] * (ROWS - 2)]))
    pq.write_table(data, command.folder / "wide.parquet")
    errors = command.folder / "e.jsonl"
    given = ("--append", "--keep", "id,note", "--errors", errors)
    run(command, server, *given, input=command.folder / "wide.parquet")
    assert ids(server) == list(range(2, ROWS))
    told = [line["reason"] for line in lines(errors)]
    assert "1000000 is no int16" in told[0] and "no text with a zero byte" in told[1]


@pytest.mark.parametrize(
    ("made", "options", "why"),
    [
        ("CREATE TABLE preds (id int, y real[], z int NOT NULL)", ("--append",), "wants a value for its column 'z'"),
        ("CREATE TABLE preds (id int)", ("--append",), "the table has no column 'y', it has id; leave it out"),
        ("CREATE TABLE preds (id int, y text)", ("--append",), "the column 'y' is string in the table and"),
        ("CREATE TABLE preds (id int GENERATED ALWAYS AS IDENTITY, y real[])", ("--append",), "made by the database"),
        ("CREATE VIEW preds AS SELECT 1 AS id", ("--append",), "preds is no table; name one"),
        (
            "CREATE TABLE preds (id int, y real[])",
            ("--merge_on", "k"),
            "--merge_on names 'k', and the predictions",
        ),
        ("", ("--append",), "there is no schema nowhere in postgresql://"),
        (
            "CREATE TABLE preds (id int, y real[])",
            ("--append",),
            "user writer may not make tables in the schema",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO writer",
            ("--append",),
            "user writer may not INSERT there; let its",
        ),
    ],
)
def test_what_cannot_be_written_is_told_before_the_job(command: Command, server: Postgres, made, options, why):
    server.run("DROP VIEW IF EXISTS preds") if "VIEW" in made else None
    server.run("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    server.run("REVOKE ALL ON SCHEMA public FROM writer", "GRANT USAGE ON SCHEMA public TO writer")
    if made.startswith("GRANT"):
        server.run("CREATE TABLE preds (id int, y real[])")
    if made:
        server.run(made)
    name = "nowhere.preds" if "nowhere" in why else "preds"
    uri = server.uri.replace("tester@", "writer@") if "writer" in why else server.uri
    err = run(command, server, *options, code=2, output=f"{uri}#{name}")
    server.run("DROP VIEW IF EXISTS preds") if "VIEW" in made else None
    assert why in err and err.count("\n") == 1, err


def test_a_commit_that_is_refused_changes_nothing(command: Command, server: Postgres):
    server.run("CREATE TABLE preds (id int UNIQUE, y real[])", "INSERT INTO preds VALUES (3, NULL)")
    err = run(command, server, "--append", code=1)
    assert "duplicate key value violates unique constraint" in err and "--merge_on COLUMN" in err, err
    assert "is as it was" in err and err.count("\n") == 1 and ids(server) == [3]
    pq.write_table(pa.concat_tables([command.table.slice(0, 3)] * 2), command.folder / "same.parquet")
    err = run(command, server, "--merge_on", "id", code=1, input=command.folder / "same.parquet")
    assert "--merge_on id: several rows have the same" in err and ids(server) == [3]


@contextmanager
def locked(server: Postgres) -> Iterator[Any]:
    """Somebody else holds the table, until that connection is closed."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE preds IN SHARE MODE")
        yield connection


def test_a_commit_that_loses_is_tried_again(command: Command, server: Postgres, monkeypatch):
    server.run("CREATE TABLE preds (id int, y real[])")
    monkeypatch.setattr(postgres_write, "LOCK_SECONDS", 0.1)
    tried = []
    with locked(server) as other:

        def give_way(seconds: float) -> None:
            tried.append(seconds)
            other.close()

        monkeypatch.setattr(postgres_write, "sleep", give_way)
        run(command, server, "--merge_on", "id", "--worker_type", "thread")
    assert len(tried) == 1 and ids(server) == list(range(ROWS))


KILLED = {
    "while rows are put aside": lambda server: bool(staging(server)),
    "while the transaction is at work": lambda server: bool(
        server.run("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'preds'::regclass")
    ),
}


@pytest.mark.parametrize("moment", KILLED)
def test_a_killed_job_is_as_if_it_had_not_been(command: Command, server: Postgres, moment: str):
    server.run("CREATE TABLE preds (id int, y real[])", "INSERT INTO preds VALUES (-1, NULL)")
    argv = [
        "--model",
        command.model,
        "--input",
        command.data,
        "--columns",
        "x=a,b,c,d",
        "--output",
        f"{server.uri}#preds",
    ]
    argv += [*GIVEN, "--append"]
    with locked(server):
        job = subprocess.Popen(
            [sys.executable, "-m", "pipelines.score", *map(str, argv)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        try:
            reached: Callable[[Postgres], bool] = KILLED[moment]
            wait_until(lambda: reached(server))
        finally:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
    assert ids(server) == [-1] and staging(server)
    # Its connections are ended by the server once it sees that they are gone.
    wait_until(
        lambda: not server.run("SELECT 1 FROM pg_stat_activity WHERE application_name = 'beamsplit' AND query <> ''")
    )
    run(command, server, "--append")
    assert ids(server) == [-1, *range(ROWS)]


def test_the_page_with_the_server(server: Postgres, tmp_path: Path):
    """Its commands as they stand."""
    server.run("DROP TABLE IF EXISTS people", "DROP TABLE IF EXISTS scores")
    page = (ROOT / "docs/how_to/sql.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^``` \{ \.sh \.server \}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "DB": server.uri}
    script = f"python -m pipelines.examples out/examples\n{block}"
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "400 scored" in done.stdout and re.search(r"^\s+400 \|", done.stdout, re.MULTILINE)
