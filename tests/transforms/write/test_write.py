from __future__ import annotations

import os
import threading
from itertools import chain

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.write import WriteBlocks, remove_temp

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.float32())])


def block(first: int, rows: int, file: str = "a.parquet") -> pa.RecordBatch:
    ids = np.arange(first, first + rows)
    data = pa.record_batch([pa.array(ids), pa.array(ids.astype(np.float32) / 2)], schema=SCHEMA)
    return with_origin(data, file, first)


def blocks(count: int, rows: int) -> list[pa.RecordBatch]:
    return [block(index * rows, rows) for index in range(count)]


def pipeline(workers: int = 1) -> beam.Pipeline:
    flags = ["--direct_running_mode=in_memory", f"--direct_num_workers={workers}"]
    return beam.Pipeline(runner=RUNNER, options=PipelineOptions(flags))


def run(transform: WriteBlocks, data: list[pa.RecordBatch], workers: int = 1, spread: bool = False) -> None:
    with pipeline(workers) as root:
        source = root | beam.Create(data, reshuffle=spread)
        source | transform


def names(folder: os.PathLike) -> list[str]:
    return sorted(os.listdir(folder))


class _FailOn(beam.DoFn):
    def __init__(self, first: int) -> None:
        self._first = first

    def process(self, data: pa.RecordBatch):
        if data.column("id")[0].as_py() == self._first:
            raise RuntimeError("the model broke")
        yield data


def test_one_bundle_one_shard_by_beams_convention(tmp_path):
    output = f"{tmp_path}/out/preds-*.parquet"
    with pipeline() as root:
        written = root | beam.Create(blocks(3, 4), reshuffle=False) | WriteBlocks(output, SCHEMA)
        assert_that(written, equal_to([f"{tmp_path}/out/preds-00000-of-00001.parquet"]))
    table = pq.read_table(f"{tmp_path}/out/preds-00000-of-00001.parquet")
    assert table.schema.names == ["id", "p"]
    assert table.column("id").to_pylist() == list(range(12))
    assert names(tmp_path / "out") == ["preds-00000-of-00001.parquet"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("write_behind", [False, True])
def test_shards_follow_the_order_of_the_input(tmp_path, workers, write_behind):
    output = f"{tmp_path}/preds-*.parquet"
    run(WriteBlocks(output, SCHEMA, write_behind=write_behind), blocks(40, 3), workers, spread=True)
    shards = [pq.read_table(tmp_path / name).column("id").to_pylist() for name in names(tmp_path)]
    assert sorted(list(chain(*shards))) == list(range(120))
    assert [shard[0] for shard in shards] == sorted(shard[0] for shard in shards)
    assert names(tmp_path) == [f"preds-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_num_shards_keeps_every_row_in_order(tmp_path, extension, count):
    output = f"{tmp_path}/preds.{extension}"
    run(WriteBlocks(output, SCHEMA, num_shards=count), blocks(5, 4))
    if count == 1:
        assert names(tmp_path) == [f"preds.{extension}"]
    else:
        assert names(tmp_path) == [f"preds-{i:05d}-of-{count:05d}.{extension}" for i in range(count)]
    ids = [read(tmp_path / name).column("id").to_pylist() for name in names(tmp_path)]
    assert list(chain(*ids)) == list(range(20))
    assert max(map(len, ids)) - min(map(len, ids)) <= 1


def read(path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json

    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.stat().st_size == 0:
        return SCHEMA.empty_table()
    return pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.json.read_json(path)


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("count", [None, 1, 2])
def test_no_rows_give_valid_empty_files(tmp_path, extension, count):
    run(WriteBlocks(f"{tmp_path}/preds.{extension}", SCHEMA, num_shards=count), [block(0, 0)])
    assert len(names(tmp_path)) == (count or 1)
    for name in names(tmp_path):
        table = read(tmp_path / name)
        assert table.num_rows == 0
        assert table.column_names == ["id", "p"]


def test_merges_bundles_of_two_workers_into_one_file(tmp_path):
    for extension in ("parquet", "csv", "jsonl"):
        output = tmp_path / f"preds.{extension}"
        run(WriteBlocks(str(output), SCHEMA, num_shards=1), blocks(30, 5), workers=2, spread=True)
        assert sorted(read(output).column("id").to_pylist()) == list(range(150))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_job_leaves_earlier_results_and_no_file_of_its_own(tmp_path, workers):
    output = f"{tmp_path}/preds.parquet"
    run(WriteBlocks(output, SCHEMA), blocks(1, 4))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    transform = WriteBlocks(output, SCHEMA)
    with pytest.raises(RuntimeError, match="the model broke"), pipeline(workers) as root:
        root | beam.Create(blocks(6, 4), reshuffle=False) | beam.ParDo(_FailOn(12)) | transform
    remove_temp(output, transform.job_id)
    writers = [thread for thread in threading.enumerate() if thread.name == "write-behind"]
    for thread in writers:
        thread.join(300)
    assert not any(thread.is_alive() for thread in writers)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_notes_of_pandas_on_the_input_are_dropped(tmp_path):
    noted = SCHEMA.with_metadata({"pandas": '{"index_columns": ["gone"]}', "made by": "me"})
    run(WriteBlocks(f"{tmp_path}/preds.parquet", noted, num_shards=1), blocks(1, 2))
    assert pq.read_schema(tmp_path / "preds.parquet").metadata == {b"made by": b"me"}


def test_shards_of_an_earlier_run_are_removed_and_nothing_else(tmp_path):
    output = f"{tmp_path}/preds.parquet"
    run(WriteBlocks(output, SCHEMA, num_shards=4), blocks(2, 8))
    others = ["preds-00000-of-00002.csv", "preds-old-00000-of-00002.parquet", "preds2.parquet", "preds-0-of-1.parquet"]
    others.append("preds.parquet")
    for other in others:
        (tmp_path / other).write_bytes(b"")
    before = names(tmp_path)
    with pytest.raises(UsageError, match=r"preds-00000-of-00004.parquet and 3 more are there; add --overwrite"):
        WriteBlocks(output, SCHEMA, num_shards=2, overwrite=False)
    (tmp_path / "preds-00007-of-00008.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"preds-00007-of-00008.parquet is there, and not all others of its output"):
        WriteBlocks(output, SCHEMA, num_shards=2)
    (tmp_path / "preds-00007-of-00008.parquet").unlink()
    assert names(tmp_path) == before
    run(WriteBlocks(output, SCHEMA, num_shards=2), blocks(2, 8))
    assert names(tmp_path) == sorted([*others, "preds-00000-of-00002.parquet", "preds-00001-of-00002.parquet"])


def test_what_came_while_the_job_ran_is_not_overwritten(tmp_path):
    transform = WriteBlocks(f"{tmp_path}/preds.parquet", SCHEMA, overwrite=False)
    (tmp_path / "preds.parquet").write_text("of somebody else")
    with pytest.raises(Exception, match=r"preds.parquet is there by now, and is not overwritten without --overwrite"):
        run(transform, blocks(2, 8))
    assert (tmp_path / "preds.parquet").read_text() == "of somebody else"


def test_counts_rows_and_time(tmp_path):
    root = pipeline(2)
    root | beam.Create(blocks(9, 3)) | WriteBlocks(f"{tmp_path}/preds.parquet", SCHEMA)
    result = root.run()
    result.wait_until_finish()
    metrics = [(counter.key.metric, counter.committed) for counter in result.metrics().query()["counters"]]
    counters = {metric.name: value for metric, value in metrics if metric.namespace == "beamsplit"}
    assert counters["rows_written"] == 27
    assert counters["write_usec"] > 0


def test_num_shards_below_one_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--num_shards 0: an output has at least 1 file"):
        WriteBlocks(f"{tmp_path}/preds.parquet", SCHEMA, num_shards=0)
