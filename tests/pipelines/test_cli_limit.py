"""`--limit`, `--delimiter` and `--keep '*'`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import count_rows, find_files, first_rows, make_splits, split_file, total_rows
from tests.command import ROWS, Command, lines
from tests.transforms.in_formats import WRITTEN, write


@pytest.mark.parametrize("format", WRITTEN, ids=lambda one: one.name)
@pytest.mark.parametrize("limit", [1, 59, 60, 61, 130, 150, 1_000])
def test_the_first_rows_of_several_files(tmp_path: Path, format, limit: int):
    for number in range(3):
        block = pa.record_batch({"n": np.arange(60) if number < 2 else np.arange(30)})
        write(format, tmp_path / f"{number}{format.extensions[0]}", block)
    files = first_rows(find_files([str(tmp_path)]), format.name, limit)
    assert len(files) == (1 if limit <= 60 else 2 if limit <= 120 else 3)
    for splits in (1, 7):
        assert sum(map(count_rows, make_splits(files, format.name, splits))) == min(limit, 150)
        small = [split for at, file in enumerate(files) for split in split_file(file, at, format.name, 50)]
        assert sum(map(count_rows, small)) == min(limit, 150)
    assert (total_rows(files, format.name) or 0) == pytest.approx(min(limit, 150), abs=2)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_the_command_reads_so_many_rows(command: Command, workers: int, ending: str):
    (format,) = [one for one in WRITTEN if one.name == ending]
    for number in range(2):
        half = command.table.slice(number * 300, 300).combine_chunks().to_batches()[0]
        write(format, command.folder / f"in{number}.{ending}", half)
    options = ["--keep", "id", "--limit", 350, "--workers", workers, "--quiet"]
    assert command.run(*options, input=command.folder / f"in*.{ending}")[0] == 0
    assert command.rows()["id"].to_pylist() == list(range(350))


def test_bad_rows_count(command: Command):
    text = "a,b,c,d\n1,2,3,4\nx,2,3,4\n1,2,3,4\n1,2,3,4\n"
    path = command.folder / "bad.csv"
    path.write_text(text)
    errors = command.folder / "e.jsonl"
    assert command.run("--limit", 3, "--errors", errors, "--quiet", input=path)[0] == 0
    assert pq.read_table(command.output).num_rows == 2
    assert [error["row"] for error in lines(errors)] == [1]


def test_files_are_rows(tmp_path: Path):
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(b"x")
    assert len(first_rows(find_files([str(tmp_path)]), "files", 3)) == 3


@pytest.mark.parametrize(("given", "mark"), [(";", ";"), ("|", "|"), ("tab", "\t"), ("\\t", "\t"), ("^", "^")])
def test_a_delimiter(command: Command, given: str, mark: str):
    rows = [[str(value) for value in row.values()] for row in command.table.to_pylist()]
    path = command.folder / "data.csv"
    path.write_text("\n".join(mark.join(row) for row in [command.table.column_names, *rows]) + "\n")
    options = ["--keep", "id", "--quiet", "--workers", 2, f"--delimiter={given}"]
    assert command.run(*options, input=path) == (0, "", "")
    assert command.rows()["id"].to_pylist() == list(range(ROWS))


def test_a_delimiter_is_proposed_and_wrong_ones_are_refused(command: Command):
    path = command.folder / "data.csv"
    path.write_text("a;b;c;d\n1;2;3;4\n")
    assert "say --delimiter ';'" in command.error(input=path)
    assert "'ab' is no character that stands between cells" in command.error("--delimiter", "ab", input=path)
    assert "--delimiter is for CSV, and" in command.error("--delimiter", ";")
    assert "--limit is for an input of files" in command.error(
        "--limit", 5, input="kafka://localhost:1/t", output="kafka://a:1/b"
    )


def test_all_columns_are_kept(command: Command):
    data = command.folder / "day=3"
    data.mkdir()
    pq.write_table(command.table.append_column("word", pa.array(["é"] * ROWS)), data / "x.parquet")
    assert command.run("--keep", "*", "--quiet", input=data) == (0, "", "")
    table = command.rows()
    assert table.column_names == ["id", "a", "b", "c", "d", "word", "day", "y"]
    assert set(table["day"].to_pylist()) == {3}
    assert "leave the others out" in command.run("--keep", "*,id")[2]
