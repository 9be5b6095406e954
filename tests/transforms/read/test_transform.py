from __future__ import annotations

import pickle
import threading

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beamsplit.transforms.block_coder import BlockCoder
from beamsplit.transforms.read import (
    ReadBlocks,
    ReadFailure,
    ReadOptions,
    find_files,
    input_schema,
    make_splits,
    read_all,
    splits,
    streams,
    together,
    transform,
)
from tests.far_store import add_far_store


@pytest.mark.parametrize("split_by_workers", [False, True])
def test_blocks_and_failures(tmp_path, monkeypatch, split_by_workers):
    if split_by_workers:
        monkeypatch.setattr(splits, "FILES_SPLIT_AT_ONCE", 0)
        monkeypatch.setattr(together, "SMALL_BYTES", 0)
    path = tmp_path / "t.csv"
    path.write_text("a\n1\nx\n3\n")
    schema = pa.schema([("a", pa.int64())])
    pipeline = beam.Pipeline(runner="DirectRunner")
    blocks, failures = pipeline | ReadBlocks(find_files([str(path)]), "csv", ReadOptions(schema), workers=2)
    assert blocks.element_type is pa.RecordBatch
    assert isinstance(beam.coders.registry.get_coder(blocks.element_type), BlockCoder)
    rows = blocks | beam.Reshuffle() | beam.FlatMap(lambda b: [(r["a"], r["_origin_row"]) for r in b.to_pylist()])
    assert_that(rows, equal_to([(1, 0), (3, 2)]), "rows")
    expected = [ReadFailure(str(path), 1, "column 'a': 'x' is no int64")]
    assert_that(failures | "Again" >> beam.Reshuffle(), equal_to(expected), "failures")
    result = pipeline.run()
    result.wait_until_finish()
    counters = {
        c.key.metric.name: c.committed
        for c in result.metrics().query()["counters"]
        if c.key.metric.namespace == "beamsplit"
    }
    assert counters["rows_read"] == 2
    assert counters["rows_unreadable"] == 1
    assert counters["bytes_read"] == 6
    assert counters["read_usec"] > 0


def test_do_fns_pickle():
    options = ReadOptions(pa.schema([("a", pa.int64())]), columns=("a",))
    do_fn = pickle.loads(pickle.dumps(transform.ReadSplitDoFn(options)))  # noqa: S301
    assert do_fn.options == options


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "t.arrow", "t.bin"])
def test_remote_files(tmp_path, monkeypatch, name):
    """Files of a store: all that is not local goes this way."""
    table = pa.table({"a": list(range(1000))})
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(table, path, row_group_size=300)
    elif name == "t.arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=300)
    elif name == "t.csv":
        path.write_text("a\n" + "\n".join(map(str, range(1000))))
    else:
        path.write_text("\n".join(f'{{"a":{i}}}' for i in range(1000)))
    add_far_store(monkeypatch)
    remote = find_files([f"far:/{path}"])
    format = {"t.bin": "files", "t.parquet": "parquet", "t.csv": "csv", "t.jsonl": "jsonl", "t.arrow": "arrow"}[name]

    schema = input_schema(remote, format)
    results = list(read_all(make_splits(remote, format, 3), ReadOptions(schema, block_rows=100)))
    rows = [value for result in results for value in result.block.column(0).to_pylist()]
    assert rows == ([f"far:/{path}"] if format == "files" else list(range(1000)))
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_read_ahead_makes_one_item_more():
    made = []
    ready = threading.Condition()

    def items():
        for at in range(5):
            with ready:
                made.append(at)
                ready.notify_all()
            yield at

    ahead = streams.read_ahead(items())
    assert next(ahead) == 0
    with ready:
        assert ready.wait_for(lambda: len(made) == 2, timeout=300)
    assert list(ahead) == [1, 2, 3, 4]
    assert not ahead_threads()


def test_read_ahead_ends_when_closed_and_raises():
    closed = []

    def items():
        try:
            yield 1
            yield 2
            raise OSError("lost")
        finally:
            closed.append(True)

    ahead = streams.read_ahead(items())
    assert next(ahead) == 1
    ahead.close()
    assert closed and not ahead_threads()
    with pytest.raises(OSError, match="lost"):
        list(streams.read_ahead(items()))
    assert not ahead_threads()


@pytest.mark.parametrize("local", [True, False])
def test_splits_are_given_each_once(tmp_path, local):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(100))}), path, row_group_size=10)
    make = transform.MakeSplits(find_files([str(path)]), "parquet", 3, local)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        given = pipeline | make
        assert given.element_type is transform.Split
        assert_that(given, equal_to(list(make.splits)))
