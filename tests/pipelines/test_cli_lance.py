"""`--input lance:PATH`, against the real library on a folder."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

import beamsplit as bs
from beamsplit.transforms.formats import lance as reader
from beamsplit.transforms.formats.lance import dataset_file, open_lance, parse_lance
from beamsplit.transforms.read import ReadOptions, input_schema, read_split, split_file
from tests.command import ROWS, Command, lines

GIVEN = ("--workers", 1, "--worker_type", "thread", "--quiet", "--num_shards", 1)


@pytest.fixture
def folder(command: Command) -> Path:
    """Version 1 has all rows, in fragments of 250; version 2 those whose id is no multiple of 7."""
    columns = [command.table[name].to_numpy() for name in "abcd"]
    flat = pa.array(np.ascontiguousarray(np.column_stack(columns)).ravel())
    x = pa.FixedSizeListArray.from_arrays(flat, 4)
    path = command.folder / "pets.lance"
    lance.write_dataset(command.table.append_column("x", x), path, max_rows_per_file=250)
    lance.dataset(path).delete("id % 7 = 0")
    return path


KEPT = [row for row in range(ROWS) if row % 7]


def scored(command: Command, *options: object, name: object) -> list[int]:
    code, _, err = command.run(*GIVEN, "--keep", "id", *options, input=f"lance:{name}", columns="x=x")
    assert code == 0, err
    ids: list[int] = command.rows()["id"].to_pylist()
    return ids


def test_a_version_has_the_rows_that_it_had(command: Command, folder: Path):
    assert scored(command, name=folder) == KEPT
    assert scored(command, name=f"{folder}@2") == KEPT
    assert scored(command, name=f"//{folder}@1") == list(range(ROWS))
    expected = command.rows()["y"].to_pylist()
    command.run(*GIVEN, "--keep", "id")
    assert command.rows()["y"].to_pylist() == expected
    code, out, _ = command.run("--dry_run_plan", input=f"lance:{folder}@1", columns="x=x")
    assert code == 0 and f"lance:{folder}, version 1, 1 file, 600 rows" in out


def test_conditions_and_the_first_rows(command: Command, folder: Path):
    assert scored(command, "--where", "id > 590 and a is not null", name=folder) == [k for k in KEPT if k > 590]
    assert scored(command, "--limit", 300, name=folder) == KEPT[:300]
    result = bs.score(f"lance:{folder}", command.model, columns={"x": ["a", "b", "c", "d"]}, keep=["id"], limit=3)
    assert result.to_arrow()["id"].to_pylist() == KEPT[:3]


@pytest.mark.parametrize(("target", "least", "number"), [(1, 10, 53), (1, 65_536, 3), (1 << 30, 10, 3)])
def test_splits_hold_every_row_once(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, target: int, least: int, number: int
):
    monkeypatch.setattr(reader, "LEAST_ROWS", least)
    files = [dataset_file(open_lance(parse_lance(str(folder), "--input"), "--input"), str(folder))]
    options = ReadOptions(input_schema(files, "lance"), columns=("id",), block_rows=33)
    splits = split_file(files[0], 0, "lance", target)
    assert len(splits) == number
    found = [row for split in splits for result in read_split(split, options) for row in result.block.to_pylist()]
    assert [row["id"] for row in found] == KEPT
    assert [row["_origin_row"] for row in found] == list(range(len(KEPT)))
    assert {row["_origin_file"] for row in found} == {f"{folder}@2"}


def test_a_row_that_fails_is_told_by_its_place(command: Command, folder: Path):
    table = command.table.set_column(1, "a", pa.array([None, *range(1, ROWS)], pa.float32()))
    lance.write_dataset(table, folder, mode="overwrite")
    errors = command.folder / "errors.jsonl"
    code, _, err = command.run(*GIVEN, "--errors", errors, input=f"lance:{folder}")
    assert code == 0, err
    (failed,) = lines(errors)
    assert (failed["file"], failed["row"]) == (f"{folder}@3", 0)
    assert "'a'" in failed["reason"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lance:gone.lance", (), "there is no Lance dataset in gone.lance (no folder _versions); check the path"),
        ("lance:{folder}@9", (), "has no version 9 that can be read"),
        ("lance:", (), "names no folder of this machine; type e.g. lance:data/pets.lance"),
        ("lance:s3://b/x", (), "names no folder of this machine"),
        ("lance:{folder}", ("--encoding", "latin-1"), "--encoding is for files"),
        ("lance:{folder}", ("--keep", "nope"), "--keep names nope"),
        ("lance:{folder}", ("--where", "nope > 1"), "nope"),
        ("lance:{folder}", ("--input_format", "lance"), "'lance'"),
    ],
)
def test_wrong_use(command: Command, folder: Path, name: str, options: tuple[str, ...], words: str):
    assert words in command.error(*options, input=name.format(folder=folder))


def test_a_dataset_without_rows(command: Command, folder: Path):
    lance.write_dataset(lance.dataset(folder).to_table().slice(0, 0), folder, mode="overwrite")
    assert scored(command, name=f"{folder}@3") == []
