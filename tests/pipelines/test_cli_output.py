"""Which files the command writes, and which it leaves alone."""

from __future__ import annotations

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.command import ROWS, Command


@pytest.fixture
def once(command: Command) -> Command:
    """The command that replaces nothing unless it is told to."""
    command.overwrite = False
    return command


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "orc", "avro"])
def test_exactly_the_file_that_was_named(once: Command, workers: int, ending: str):
    output = once.output.parent / f"preds.{ending}"
    code, _, err = once.run("--keep", "id", "--quiet", "--workers", workers, output=output)
    assert (code, err) == (0, "")
    assert once.written() == [output.name]
    if ending == "csv":
        assert pyarrow.csv.read_csv(output).column("id").to_pylist() == list(range(ROWS))


@pytest.mark.parametrize(
    ("output", "more", "names"),
    [
        ("preds-*.csv", ["--num_shards", 2], ["preds-00000-of-00002.csv", "preds-00001-of-00002.csv"]),
        ("preds-*.csv", ["--num_shards", 1], ["preds-00000-of-00001.csv"]),
        ("preds-*.csv", ["--workers", 1], ["preds-00000-of-00001.csv"]),
        ("", ["--workers", 2], ["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]),
    ],
)
def test_many_files(once: Command, output: str, more: list[object], names: list[str]):
    code, _, err = once.run("--keep", "id", "--quiet", *more, output=f"{once.output.parent}/{output}")
    assert (code, err) == (0, "")
    assert once.written() == names
    code, _, err = once.run("--quiet", *more, output=f"{once.output.parent}/{output}")
    assert code == 2
    assert "is there already: " in err and names[0] in err and "add --overwrite" in err


def test_an_output_is_replaced_only_if_that_is_said(once: Command):
    errors = once.folder / "errors.jsonl"
    assert once.run("--quiet", "--errors", errors)[0] == 0
    before = once.output.read_bytes()
    _, _, err = once.run("--quiet", "--keep", "id")
    told = f"--output {once.output} is there already; add --overwrite to replace it, or give --output another name"
    assert err == f"error: {told}\n"
    assert once.output.read_bytes() == before
    code, out, err = once.run("--keep", "id", "--dry_run_plan")
    assert code == 0 and "is there already: to run this, add --overwrite" in out + err
    assert once.run("--quiet", "--keep", "id", "--overwrite") == (0, "", "")
    assert pq.read_schema(once.output).names == ["id", "y"]
    _, _, err = once.run("--quiet", "--errors", errors, output=once.folder / "other.csv")
    assert err.startswith(f"error: --errors {errors} is there already; add --overwrite to replace it")
    assert not (once.folder / "other.csv").exists()


def test_files_that_the_job_did_not_write_stay(once: Command):
    folder = once.output.parent
    folder.mkdir()
    stray = folder / "p-00007-of-00008.csv"
    stray.write_text("mine")
    assert once.run("--quiet", output=folder / "p.csv") == (0, "", "")
    assert once.run("--quiet", "--overwrite", output=folder / "p.csv") == (0, "", "")
    assert stray.read_text() == "mine"
    for more in ([], ["--overwrite"]):
        code, _, err = once.run("--quiet", *more, "--num_shards", 8, output=folder / "p.csv")
        assert code == 2 and "p-00007-of-00008.csv" in err
    assert once.written() == ["p-00007-of-00008.csv", "p.csv"]
    assert stray.read_text() == "mine"


@pytest.mark.parametrize("name", ["o*/p.csv", "p-*-*.csv"])
def test_a_pattern_that_is_none(once: Command, name: str):
    assert "one * in the name of the files stands for their numbers" in once.error(output=once.folder / name)


def test_a_folder_without_a_slash_is_told_apart(once: Command):
    folder = once.folder / "results.csv"
    folder.mkdir()
    error = once.error(output=folder)
    assert f"{folder} is a folder; give the name of a file in it, or {folder}/ for files of their own names" in error
