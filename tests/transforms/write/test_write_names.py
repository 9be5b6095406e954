from __future__ import annotations

import os
import tempfile

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.write import check_output, check_replaceable
from beamsplit.transforms.write.names import is_shard_of, output_format, shard_names, temp_folder, whole_outputs


def test_formats():
    names = ["a.parquet", "a.csv", "a.jsonl", "a.ndjson", "gs://b/a.json", "A.CSV"]
    assert [output_format(name) for name in names] == ["parquet", "csv", "jsonl", "jsonl", "jsonl", "csv"]


@pytest.mark.parametrize("output", ["preds.xlsx", "preds", "out.csv/preds"])
def test_an_unknown_extension_is_named_with_those_known(output):
    with pytest.raises(
        UsageError, match=r"the extension \[.*\] names no format .* \.parquet, \.csv, \.jsonl, \.ndjson"
    ):
        check_output(output)


def test_shard_names():
    assert shard_names("gs://b/p.csv", 2, single=False) == [
        "gs://b/p-00000-of-00002.csv",
        "gs://b/p-00001-of-00002.csv",
    ]
    assert shard_names("p.csv", 1, single=False) == ["p-00000-of-00001.csv"]
    assert shard_names("p.csv", 1, single=True) == ["p.csv"]


def test_patterns_and_folders():
    assert shard_names("o/*.csv", 1, single=False) == ["o/00000-of-00001.csv"]
    assert shard_names("o/", 2, single=False) == ["o/part-00000-of-00002.parquet", "o/part-00001-of-00002.parquet"]
    assert shard_names("o/p-*-x.csv", 1, single=False) == ["o/p-00000-of-00001-x.csv"]
    assert is_shard_of("o/p-*-x.csv", "o/p-00000-of-00001-x.csv") and not is_shard_of("o/*.csv", "o/a.csv")
    assert [temp_folder(name, "j") for name in ("o/", "o/p-*.csv")] == ["o/.part-.parquet-j", "o/.p-.csv-j"]
    assert [output_format(name) for name in ("o/", "o/p-*.avro")] == ["parquet", "avro"]
    for name in ("o*/p.csv", "o/*/", "p-*-*.csv"):
        with pytest.raises(UsageError, match=r"one \* in the name of the files stands for their numbers"):
            check_output(name)


def test_only_whole_outputs_are_replaced():
    old, new, stray = shard_names("p.csv", 3, False), shard_names("p.csv", 1, False), "p-00007-of-00008.csv"
    assert whole_outputs("p.csv", [*old, *new, stray]) == {*old, *new}
    assert whole_outputs("p.csv", [*old[1:], "p-00003-of-00003.csv"]) == set()


def test_shards_are_told_from_other_files():
    yes = ["o/p.csv", "o/p-00000-of-00002.csv", "o/p-123456-of-123457.csv"]
    no = ["o/p-0-of-2.csv", "o/pp.csv", "p.csv", "o/p-00000-of-00002.jsonl", "o/x/p-00000-of-00002.csv", "o/p-a.csv"]
    assert [is_shard_of("o/p.csv", path) for path in yes + no] == [True] * 3 + [False] * 6
    assert not is_shard_of("o/p.x.csv", "o/p-x-00000-of-00002.csv")


def test_the_temporary_folder_lies_hidden_beside_the_output():
    assert temp_folder("out/preds.parquet", "j1") == "out/.preds.parquet-j1"
    assert temp_folder("preds.parquet", "j1") == ".preds.parquet-j1"


def test_a_folder_or_a_file_as_folder_is_refused(tmp_path):
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"dir\.csv is a folder; give the name of a file in it"):
        check_output(f"{tmp_path}/dir.csv")
    with pytest.raises(UsageError, match="file is a file, not a folder; give a path in a folder"):
        check_output(f"{tmp_path}/file/sub/preds.csv")
    check_output(f"{tmp_path}/new/sub/preds.csv")
    assert sorted(os.listdir(tmp_path)) == ["dir.csv", "file"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UsageError, match=r"may not be written \(.*\); give a folder that may be"):
        check_output(f"{tmp_path}/preds.csv")


def test_an_input_that_would_be_lost_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = f"{tmp_path}/data.csv"
    for name in [output, "data.csv", f"file://{tmp_path}/data.csv", "./data-00000-of-00002.csv"]:
        with pytest.raises(
            UsageError, match=r"would overwrite or remove the input file .*data.*; give the output another"
        ):
            check_output(output, ["other.csv", name])
    check_output(output, ["other.csv", "sub/data.csv", "data-1.csv"])


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    (tmp_path / "link.csv").symlink_to(pipe)
    for name in ("pipe.csv", "link.csv"):
        with pytest.raises(UsageError, match=rf"--output .*{name} is a device or pipe, whose place a file would take"):
            check_output(str(tmp_path / name))
    (tmp_path / "file.csv").touch()
    check_output(str(tmp_path / "file.csv"))
    check_replaceable(str(tmp_path / "new.csv"), "--errors")
