from __future__ import annotations

import os

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.transforms.block import with_origin
from beamsplit.transforms.write import WriteBlocks, check_output, remove_temp
from beamsplit.transforms.write.storage import files_in, local_path, open_input, open_output, remove, replace, size_of

SCHEMA = pa.schema([("id", pa.int64())])
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


class FarFileSystem(LocalFileSystem):
    """Stands for gs:// or s3://: names with a scheme, which only Beam's file systems know."""

    @classmethod
    def scheme(cls) -> str:
        return "far"

    def _here(self, path: str) -> str:
        return path.removeprefix("far:/")

    def _list(self, dir_or_prefix):
        for found in super()._list(self._here(dir_or_prefix)):
            found.path = "far:/" + found.path
            yield found

    def create(self, path, *args, **kwargs):
        return super().create(self._here(path), *args, **kwargs)

    def open(self, path, *args, **kwargs):
        return super().open(self._here(path), *args, **kwargs)

    def exists(self, path):
        return super().exists(self._here(path))

    def metadata(self, path):
        return super().metadata(self._here(path))

    def rename(self, source_file_names, destination_file_names):
        super().rename([self._here(p) for p in source_file_names], [self._here(p) for p in destination_file_names])

    def delete(self, paths):
        super().delete([self._here(p) for p in paths])


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
def test_writes_through_beams_file_systems(tmp_path, extension):
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
    assert FileSystems.exists(f"far:/{tmp_path}/{names[0]}")
    if extension == "parquet":
        assert [pq.read_table(tmp_path / name).column("id").to_pylist() for name in names] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
        ]
    elif extension == "csv":
        assert (tmp_path / names[1]).read_text().split() == ['"id"', "4", "5", "6", "7"]
    else:
        assert (tmp_path / names[1]).read_text().split() == ['{"id":4}', '{"id":5}', '{"id":6}', '{"id":7}']
