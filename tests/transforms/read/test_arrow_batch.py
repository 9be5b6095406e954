from __future__ import annotations

import datetime
import decimal
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import ReadOptions, count_rows, find_files, input_schema, read_split, split_file
from beamsplit.transforms.read.arrow_batch import BatchFile, Unsupported
from beamsplit.transforms.read.arrow_stream import StreamFile
from beamsplit.transforms.read.compression import DamagedFile

ROWS = 400


def of_many_types() -> pa.Table:
    numbers = range(ROWS)
    views = [f"view {k} of more than twelve bytes" for k in numbers]
    return pa.table(
        {
            "int": pa.array(numbers),
            "bool": pa.array([None if k % 7 == 0 else k % 3 == 0 for k in numbers]),
            "text": pa.array([None if k % 5 == 0 else "s" * (k % 9) for k in numbers]),
            "large": pa.array(["é" * (k % 4) for k in numbers], pa.large_string()),
            "list": pa.array([None if k % 11 == 0 else [k, None, *range(k % 5)] for k in numbers]),
            "lists": pa.array([[["a"] * (k % 3), None] for k in numbers], pa.large_list(pa.list_(pa.string()))),
            "struct": pa.array([None if k % 13 == 0 else {"x": k, "y": None if k % 4 else [str(k)]} for k in numbers]),
            "fixed": pa.array([None if k % 3 == 0 else [k, None] for k in numbers], pa.list_(pa.int16(), 2)),
            "decimal": pa.array([decimal.Decimal(k) / 4 for k in numbers], pa.decimal128(12, 2)),
            "bytes": pa.array([b"%04d" % k for k in numbers], pa.binary(4)),
            "time": pa.array([datetime.datetime(2020, 1, 1)] * ROWS),
            "null": pa.nulls(ROWS),
            "view": pa.array(views, pa.string_view()),
            "map": pa.array([[("a", k)] for k in numbers], pa.map_(pa.string(), pa.int64())),
            "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(ROWS * 4.0).reshape(ROWS, 2, 2)),
            "list view": pa.array([[1, 2, k] for k in numbers], pa.list_view(pa.int64())),
        }
    )


def write(table: pa.Table, path, rows: int = ROWS, compression: str | None = None):
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, rows)
    return path


def open_batches(path) -> BatchFile:
    return BatchFile(str(path), pa.ipc.open_file(path).schema)


@pytest.mark.parametrize(("begin", "end"), [(0, 250), (0, 1), (17, 93), (249, 250), (8, 16), (5, 5), (100, 250)])
def test_rows_of_every_type(tmp_path, begin: int, end: int):
    table = of_many_types()
    with open_batches(write(table, tmp_path / "t.arrow", 250)) as file:
        assert [file.rows(at) for at in range(len(file.blocks))] == [250, 150]
        for names in (table.schema.names, *([name] for name in table.schema.names), ["tensor", "int", "lists"], []):
            part = file.read(0, names, begin, end)
            part.validate(full=True)
            assert part.num_rows == end - begin
            if names:
                assert part.to_pylist() == table.select(names).slice(begin, end - begin).to_pylist()
        part = file.read(1, ["lists", "text"], 100, 150)
        assert part.to_pylist() == table.select(["lists", "text"]).slice(350).to_pylist()


def test_what_arrows_own_reader_reads(tmp_path):
    table = pa.table({"d": pa.array(["a", "b"]).dictionary_encode()})
    nested = pa.table({"d": pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))})
    for one in (table, nested):
        with pytest.raises(Unsupported):
            open_batches(write(one, tmp_path / "t.arrow"))
    write(pa.table({"x": np.zeros(1000)}), tmp_path / "z.arrow", 1000, "zstd")
    with open_batches(tmp_path / "z.arrow") as file:
        assert file.rows(0) == 1000
        with pytest.raises(Unsupported):
            file.check([0])


def test_a_file_cut_while_it_is_read(tmp_path):
    path = write(pa.table({"x": np.arange(100_000.0), "s": ["text"] * 100_000}), tmp_path / "t.arrow", 50_000)
    for names in (["x"], ["s"], ["x", "s"]):
        for part in (slice(0, 50_000), slice(40_000, 50_000)):
            with open_batches(path) as file:
                content = path.read_bytes()
                os.truncate(path, file.blocks[1].start + file.blocks[1].metadata + 100)
                with pytest.raises(DamagedFile, match=r"t\.arrow changed while it was read, or is damaged"):
                    file.read(1, names, part.start, part.stop)
                path.write_bytes(content)


@pytest.mark.parametrize("kind", ["arrow", "dictionary.arrow", "stream.arrow", "parquet"])
def test_a_file_that_is_cut_while_it_is_read_fails_with_its_name(tmp_path, kind: str):
    path = tmp_path / f"t.{kind}"
    texts = pa.array([f"text {row}" for row in range(400_000)])
    table = pa.table({"x": np.random.default_rng(0).random(400_000), "s": texts})
    if kind.startswith("dictionary"):
        table = table.set_column(1, "s", table["s"].combine_chunks().dictionary_encode())
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=50_000)
    elif kind.startswith("stream"):
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, 50_000)
    else:
        write(table, path, 50_000)
    files = find_files([str(path)])
    format = "parquet" if kind == "parquet" else "arrow"
    (split,) = split_file(files[0], 0, format, 10**9)
    results = read_split(split, ReadOptions(input_schema(files, format), block_rows=1_000))
    assert next(results).block.num_rows == 1_000
    os.truncate(path, 10_000)
    with pytest.raises(OSError, match=rf"t\.{kind} "):
        list(results)


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_a_cut_file_is_told_by_its_name_whatever_is_missing(tmp_path, kind: str):
    path = tmp_path / f"t.{kind}"
    table = pa.table({"x": np.arange(1_000.0), "s": [str(row) for row in range(1_000)]})
    pq.write_table(table, path) if kind == "parquet" else write(table, path, 300)
    whole = path.read_bytes()
    files = find_files([str(path)])
    schema = input_schema(files, kind)
    splits = split_file(files[0], 0, kind, 10**9)
    for length in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:length])
        with pytest.raises(OSError, match=rf"t\.{kind}"):
            for split in splits:
                list(read_split(split, ReadOptions(schema)))


def test_a_stream_that_was_cut_between_two_batches_or_goes_on(tmp_path):
    path = tmp_path / "t.arrow"
    with pa.ipc.new_stream(path, pa.schema([("x", pa.int64())])) as writer:
        for row in range(3):
            writer.write_batch(pa.record_batch({"x": [row]}))
    whole = path.read_bytes()
    files = find_files([str(path)])
    (split,) = split_file(files[0], 0, "arrow", 10**9)
    options = ReadOptions(input_schema(files, "arrow"))
    assert sum(result.block.num_rows for result in read_split(split, options)) == 3
    for length in range(len(whole) - 300, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(OSError, match=r"t\.arrow (ends without the mark|cannot be read as arrow)"):
            list(read_split(split, options))
    for behind in (whole, b"x"):
        path.write_bytes(whole + behind)
        with pytest.raises(OSError, match=rf"t\.arrow goes on behind its Arrow stream, from byte {len(whole):,}"):
            list(read_split(split, options))


def stream(path: Path, table: pa.Table, batch_rows: int, compression: str | None = None) -> Path:
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, batch_rows)
    return path


def test_a_stream_is_shared_by_its_batches(tmp_path):
    texts = pa.array([None if row % 7 == 0 else f"text {row}" * (row % 3) for row in range(1_000)])
    table = pa.table({"x": np.arange(1_000), "s": texts, "l": pa.array([[row] * (row % 4) for row in range(1_000)])})
    files = find_files([str(stream(tmp_path / "t.arrow", table, 100))])
    options = ReadOptions(input_schema(files, "arrow"))
    splits = split_file(files[0], 0, "arrow", files[0].size // 4)
    assert [split.rows for split in splits] == [200] * 5
    found = [result.block for split in splits for result in read_split(split, options)]
    assert pa.Table.from_batches(found).select(table.column_names).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("kind", ["compressed", "dictionary"])
def test_a_stream_that_only_arrow_reads_is_one_split(tmp_path, kind: str):
    table = pa.table({"x": np.arange(1_000), "s": [f"text {row % 10}" for row in range(1_000)]})
    if kind == "dictionary":
        table = table.set_column(1, "s", table["s"].combine_chunks().dictionary_encode())
    path = stream(tmp_path / "t.arrow", table, 100, "zstd" if kind == "compressed" else None)
    files = find_files([str(path)])
    (split,) = split_file(files[0], 0, "arrow", 1)
    assert split.rows is None and count_rows(split) == 1_000
    found = [result.block for result in read_split(split, ReadOptions(input_schema(files, "arrow")))]
    assert pa.Table.from_batches(found)["x"].to_pylist() == list(range(1_000))


def test_a_stream_that_is_damaged_is_told_before_it_is_read(tmp_path):
    path = stream(tmp_path / "t.arrow", pa.table({"x": np.arange(300)}), 100)
    whole = path.read_bytes()
    with open_stream_batches(path) as file:
        second = file.blocks[1].start
    for content, words in (
        (whole[:second], "ends without the mark"),
        (whole[: second + 20], "ends without the mark"),
        (whole[:-8], "ends without the mark"),
        (whole + b"x", "goes on behind its Arrow stream"),
        (whole[: second + 8] + b"\xff" * 40 + whole[second + 48 :], "is damaged: a message at byte"),
    ):
        path.write_bytes(content)
        (found,) = find_files([str(path)])
        with pytest.raises(DamagedFile, match=rf"t\.arrow {words}"):
            split_file(found, 0, "arrow", 1)


def open_stream_batches(path: Path) -> StreamFile:
    with pa.ipc.open_stream(path) as reader:
        return StreamFile(str(path), reader.schema)
