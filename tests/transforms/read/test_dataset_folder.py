from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import ReadOptions, find_files, format_of, input_schema, make_splits, read_split
from beamsplit.transforms.read.dataset_folder import INFO, STATE
from tests.command import Command

datasets.disable_progress_bars()


def dataset(rows: int = 5) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": list(range(rows)), "x": [[float(row)] * 3 for row in range(rows)]})


def test_the_files_that_a_dataset_names_are_its_rows(tmp_path):
    dataset().save_to_disk(str(tmp_path / "d"), num_shards=2)
    # What `map` keeps beside the data is none.
    (tmp_path / "d" / "cache-1f.arrow").write_bytes(b"of something else")
    files = find_files([str(tmp_path)])
    assert [Path(file.path).name for file in files] == [f"data-0000{at}-of-00002.arrow" for at in range(2)]
    assert format_of(files) == "arrow"
    options = ReadOptions(input_schema(files, "arrow"))
    blocks = [result.block for split in make_splits(files, "arrow", 4) for result in read_split(split, options)]
    assert pa.Table.from_batches(blocks)["id"].to_pylist() == list(range(5))


def test_a_dataset_that_was_filtered(tmp_path):
    few = dataset().filter(lambda row: row["id"] > 2)
    few.save_to_disk(str(tmp_path / "few"))
    (found,) = find_files([str(tmp_path / "few")])
    (split,) = make_splits([found], "arrow", 1)
    assert split.rows == 2


def test_several_datasets_are_named(tmp_path):
    datasets.DatasetDict({"train": dataset(), "test": dataset(2)}).save_to_disk(str(tmp_path))
    with pytest.raises(UsageError, match=rf"holds 2 datasets: name one .* --input {tmp_path}/train {tmp_path}/test"):
        find_files([str(tmp_path)])
    assert len(find_files([str(tmp_path / "train"), str(tmp_path / "test")])) == 2


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"_data_files": [{"filename": "gone.arrow"}]}, "has no file 'gone.arrow'"),
        ({"_data_files": [{"filename": "../a.arrow"}]}, "has no file '../a.arrow'"),
        ({"_data_files": [7]}, "has no file None"),
        ({"_data_files": None}, "no list '_data_files'"),
        ({"_data_files": []}, "is a dataset without rows, which has no file that tells its columns"),
        ([], "no list"),
        ({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}, r"flatten_indices\(\)"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_a_dataset_is_not(tmp_path, state: object, words: str):
    (tmp_path / INFO).write_text("{}")
    (tmp_path / STATE).write_text(state if isinstance(state, str) else json.dumps(state))
    with pytest.raises(UsageError, match=words):
        find_files([str(tmp_path)])


def test_a_dataset_is_scored(command: Command):
    rows = dataset(1_000).map(lambda row: {"x": [*row["x"], 1.0]})
    rows.save_to_disk(str(command.folder / "d"), num_shards=3)
    code, _, err = command.run("--keep", "id", "--num_shards", 1, "--narrow", input=command.folder / "d", columns="x=x")
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(range(1_000))
