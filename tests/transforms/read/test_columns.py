"""Parquet and Arrow IPC."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.read import (
    ReadOptions,
    arrow_ipc,
    count_rows,
    find_files,
    input_schema,
    parquet,
    read_all,
    read_sample,
    read_split,
    slice_split,
    split_file,
    total_rows,
)


def table_of(rows: int) -> pa.Table:
    return pa.table(
        {
            "i": np.arange(rows),
            "f": np.arange(rows, dtype=np.float32),
            "s": pa.array([f"s{i % 7}" if i % 5 else None for i in range(rows)], type=pa.string()),
            "d": pa.array([f"s{i % 7}" for i in range(rows)]).dictionary_encode(),
            "l": pa.array([[float(i), 1.0] for i in range(rows)], type=pa.list_(pa.float32(), 2)),
        }
    )


def write(table, path, group_rows=None):
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=group_rows)
        return
    opener = pa.ipc.new_stream if path.name.startswith("stream") else pa.ipc.new_file
    with opener(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=group_rows)


def read(splits, schema, **options):
    blocks = [result.block for result in read_all(splits, ReadOptions(schema, **options))]
    return pa.Table.from_batches(blocks).to_pylist() if blocks else []


NAMES = ["t.parquet", "t.arrow", "stream.arrow"]
MODULES = {"t.parquet": parquet, "t.arrow": arrow_ipc, "stream.arrow": arrow_ipc}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group_rows", [1, 30, 64, 200])
@pytest.mark.parametrize("split_bytes", [1, 3_000, 10**9])
@pytest.mark.parametrize("least_rows", [10, 65_536])
def test_splits_hold_every_row_once_in_order(tmp_path, monkeypatch, name, group_rows, split_bytes, least_rows):
    monkeypatch.setattr(MODULES[name], "LEAST_ROWS", least_rows)
    table = table_of(100)
    write(table, tmp_path / name, group_rows)
    files = find_files([str(tmp_path / name)])
    format = "parquet" if name == "t.parquet" else "arrow"
    schema = input_schema(files, format)
    assert schema.types == table.schema.types
    splits = split_file(files[0], 0, format, split_bytes)
    assert [split.order for split in splits] == [(0, at) for at in range(len(splits))]
    assert sum(count_rows(split) for split in splits) == 100
    if least_rows == 10 and split_bytes == 1 and name != "stream.arrow":
        assert len(splits) == (100 if group_rows == 1 else 10 if group_rows == 200 else len(splits))
        assert len(splits) >= 8
    for block_rows in (7, 1000):
        rows = read(splits, schema, block_rows=block_rows)
        assert [row.pop("_origin_row") for row in rows] == list(range(100))
        assert {row.pop("_origin_file") for row in rows} == {str(tmp_path / name)}
        assert rows == table.to_pylist()


@pytest.mark.parametrize("name", NAMES)
@given(
    cuts=st.lists(st.integers(0, 100), max_size=4), block_rows=st.integers(1, 60), group_rows=st.sampled_from([9, 100])
)
@settings(max_examples=30, deadline=None)
def test_row_ranges_cover_the_rows_once(tmp_path_factory, name, cuts, block_rows, group_rows):
    path = tmp_path_factory.mktemp("ranges") / name
    write(table_of(100), path, group_rows)
    files = find_files([str(path)])
    schema = input_schema(files, "parquet" if name == "t.parquet" else "arrow")
    (split,) = split_file(files[0], 0, "parquet" if name == "t.parquet" else "arrow", 10**9)
    cuts = sorted({0, 100, *cuts})
    parts = [slice_split(split, begin, end) for begin, end in pairwise(cuts)]
    assert [count_rows(part) for part in parts] == [end - begin for begin, end in pairwise(cuts)]
    rows = read(parts, schema, block_rows=block_rows, columns=("i",))
    assert [(row["i"], row["_origin_row"]) for row in rows] == [(i, i) for i in range(100)]
    again = slice_split(slice_split(split, 10, 90), 5, 200)
    assert [row["i"] for row in read([again], schema)] == list(range(15, 90))


@pytest.mark.parametrize("name", NAMES)
def test_columns_in_the_order_and_types_asked_for(tmp_path, name):
    write(table_of(3), tmp_path / name)
    files = find_files([str(tmp_path / name)])
    splits = split_file(files[0], 0, "parquet" if name == "t.parquet" else "arrow", 10**9)
    schema = pa.schema([("i", pa.int16()), ("d", pa.string()), ("f", pa.float64())])
    options = ReadOptions(schema, columns=("f", "d", "i"))
    (result,) = read_all(splits, options)
    assert result.block.schema.equals(options.block_schema)
    assert result.block.schema.names == ["f", "d", "i", "_origin_file", "_origin_row"]
    assert result.block.column("f").to_pylist() == [0.0, 1.0, 2.0]
    (result,) = read_all(splits, ReadOptions(schema, columns=()))
    assert result.block.column("_origin_row").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_the_column_or_with_other_values(tmp_path, name):
    write(pa.table({"i": [300], "s": ["x"]}), tmp_path / name)
    files = find_files([str(tmp_path / name)])
    splits = split_file(files[0], 0, "parquet" if name == "t.parquet" else "arrow", 10**9)
    for schema, reason in [
        (pa.schema([("z", pa.int8())]), "no column 'z' (int8) in this file, it has i, s"),
        (pa.schema([("i", pa.int8())]), "column 'i' (int64 in this file): 300 is no int8"),
        (pa.schema([("s", pa.list_(pa.int8()))]), "column 's' is string in this file, and list<item: int8> in the job"),
    ]:
        results = list(read_all(splits, ReadOptions(schema)))
        assert [result.block for result in results] == [None]
        (failure,) = results[0].failures
        assert failure[:2] == (files[0].path, 0) and failure.reason.startswith(reason)


@pytest.mark.parametrize("name", NAMES)
def test_no_rows(tmp_path, name):
    write(table_of(0), tmp_path / name)
    files = find_files([str(tmp_path / name)])
    format = "parquet" if name == "t.parquet" else "arrow"
    schema = input_schema(files, format)
    assert schema.names == ["i", "f", "s", "d", "l"]
    assert read(split_file(files[0], 0, format, 1), schema) == []
    assert read_sample(files, format, ReadOptions(schema), 5) is None
    assert total_rows(files, format) in (0, None)


def test_of_local_arrow_only_what_is_wanted_is_read(tmp_path):
    write(pa.table({"f": np.zeros(1_000_000), "g": np.zeros(1_000_000)}), tmp_path / "t.arrow")
    files = find_files([str(tmp_path / "t.arrow")])
    schema = input_schema(files, "arrow")
    before = pa.total_allocated_bytes()
    results = read_split(split_file(files[0], 0, "arrow", 10**9)[0], ReadOptions(schema, columns=("f",)))
    block = next(results).block
    origin_bytes = block.num_rows * 12 + 1_000
    assert pa.total_allocated_bytes() - before < origin_bytes


def test_compressed_arrow(tmp_path):
    table = table_of(1000)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=300)
    files = find_files([str(tmp_path / "t.arrow")])
    splits = split_file(files[0], 0, "arrow", 1)
    assert [split.rows for split in splits] == [300, 300, 300, 100]
    rows = read(splits, input_schema(files, "arrow"), columns=("s", "i"))
    assert [(row["s"], row["i"]) for row in rows] == [(row["s"], row["i"]) for row in table.to_pylist()]


def test_reading_holds_about_a_block(tmp_path):
    table = pa.table({f"c{i}": np.random.default_rng(i).random(1_500_000, dtype=np.float32) for i in range(4)})
    write(table, tmp_path / "t.parquet", 1_500_000)
    files = find_files([str(tmp_path / "t.parquet")])
    schema = input_schema(files, "parquet")
    gc.collect()
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for result in read_all(split_file(files[0], 0, "parquet", 10**9), ReadOptions(schema, block_rows=20_000)):
        rows += result.block.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 1_500_000
    assert most < table.nbytes / 2


def test_ranges_of_a_row_group_go_on_with_one_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 10)
    write(table_of(100), tmp_path / "t.parquet")
    files = find_files([str(tmp_path / "t.parquet")])
    schema = input_schema(files, "parquet")
    splits = split_file(files[0], 0, "parquet", 1)
    assert len(splits) == 10
    opened = []
    decoder = parquet._Decoder
    monkeypatch.setattr(parquet, "_Decoder", lambda *args: opened.append(args) or decoder(*args))
    assert len(read(splits, schema, block_rows=7)) == 100
    assert len(opened) == 1
    assert not parquet._idle

    # Two readers in step, then one that goes on where the first ended, and one that leaves early.
    left, right = (read_split(split, ReadOptions(schema, block_rows=7)) for split in (splits[0], splits[5]))
    assert next(left).block.column("i")[0].as_py() == 0
    assert next(right).block.column("i")[0].as_py() == 50
    assert [i for r in left for i in r.block.column("i").to_pylist()] == [7, 8, 9]
    assert len(opened) == 3 and len(parquet._idle) == 1
    late = read([splits[1]], schema, block_rows=7)
    assert [row["i"] for row in late] == list(range(10, 20))
    assert len(opened) == 3
    right.close()
    assert [decoder.at for _, decoder in parquet._idle] == [21]
    parquet.forget_decoders()


def test_a_sample_leaves_no_decoder_behind(tmp_path):
    write(table_of(100), tmp_path / "t.parquet")
    files = find_files([str(tmp_path / "t.parquet")])
    schema = input_schema(files, "parquet")
    assert read_sample(files, "parquet", ReadOptions(schema), 10).num_rows == 10
    assert not parquet._idle


def test_threads_read_ranges_of_a_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 100)
    write(table_of(4000), tmp_path / "t.parquet")
    files = find_files([str(tmp_path / "t.parquet")])
    schema = input_schema(files, "parquet")
    splits = split_file(files[0], 0, "parquet", 1)
    for turn in range(5):
        got: list[list[int]] = [[] for _ in range(4)]

        def work(thread, got=got):
            rows = read(splits[thread::4], schema, block_rows=33, columns=("i",))
            got[thread] = [row["i"] for row in rows]

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(i for part in got for i in part) == list(range(4000)), turn
    assert len(parquet._idle) <= parquet.IDLE_DECODERS
    parquet.forget_decoders()
