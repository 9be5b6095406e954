from __future__ import annotations

import os

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.transforms.block import with_origin
from beamsplit.transforms.write import WriteBlocks, check_output, remove_temp
from beamsplit.transforms.write.storage import files_in, local_path, open_input, open_output, remove, replace, size_of
from tests.far_store import add_far_store

SCHEMA = pa.schema([("id", pa.int64())])
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.fixture(autouse=True)
def far(monkeypatch):
    add_far_store(monkeypatch)


def files(folder) -> list[str]:
    return sorted(name for _, _, names in os.walk(folder) for name in names)


def test_local_paths():
    assert [local_path(path) for path in ["a/b", "/a", "file:///a/b", "gs://a/b"]] == ["a/b", "/a", "/a/b", None]


@pytest.mark.parametrize("prefix", ["", "file://", "far:/"])
def test_file_operations(tmp_path, prefix):
    path = f"{prefix}{tmp_path}/a[1].csv"
    with open_output(path) as file:
        file.write(b"abc")
    with open_input(path) as file:
        file.seek(1)
        assert file.read() == b"bc"
    assert size_of(path) == 3
    assert files_in(f"{prefix}{tmp_path}/", "a") == [path]
    replace(path, f"{prefix}{tmp_path}/b.csv")
    assert files(tmp_path) == ["b.csv"]
    assert size_of(path) is None
    remove(f"{prefix}{tmp_path}/b.csv")
    remove(f"{prefix}{tmp_path}/b.csv")
    assert files(tmp_path) == []


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
def test_writes_to_a_store(tmp_path, extension):
    output = f"far:/{tmp_path}/preds.{extension}"
    check_output(output, [f"far:/{tmp_path}/data.{extension}"])
    blocks = [with_origin(pa.record_batch([pa.array([i, i + 1])], schema=SCHEMA), "in.csv", i) for i in range(0, 8, 2)]
    options = PipelineOptions(["--direct_running_mode=in_memory"])
    for count in (3, 2):
        transform = WriteBlocks(output, SCHEMA, num_shards=count)
        with beam.Pipeline(runner=RUNNER, options=options) as root:
            root | beam.Create(blocks, reshuffle=False) | transform
        remove_temp(output, transform.job_id)
    names = [f"preds-0000{i}-of-00002.{extension}" for i in range(2)]
    assert files(tmp_path) == names
    if extension == "parquet":
        assert [pq.read_table(tmp_path / name).column("id").to_pylist() for name in names] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
        ]
    elif extension == "csv":
        assert (tmp_path / names[1]).read_text().split() == ['"id"', "4", "5", "6", "7"]
    else:
        assert (tmp_path / names[1]).read_text().split() == ['{"id":4}', '{"id":5}', '{"id":6}', '{"id":7}']
