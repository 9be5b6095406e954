"""Every format of the table: what is written is read back, whole, in parts and through the command."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import ARROW, FORMATS, Format, format_by_extension, written_by_extension
from beamsplit.transforms.read import (
    ReadOptions,
    count_rows,
    find_files,
    infer_schema,
    read_all,
    slice_split,
    split_file,
)
from beamsplit.transforms.write.merge import OutputShard, Part, merge_shard
from beamsplit.transforms.write.temp_file import Target, TempFile
from tests.command import ROWS, Command
from tests.transforms.in_formats import WRITTEN, write

READ_BACK = [one for one in WRITTEN if not one.text]
ids = [one.name for one in WRITTEN]

COLUMNS: dict[str, tuple[pa.DataType, list[object]]] = {
    "id": (pa.int64(), [2**62, -(2**63), 0]),
    "small": (pa.int8(), [-128, None, 127]),
    "u": (pa.uint32(), [2**32 - 1, None, 0]),
    "f": (pa.float32(), [1.5, float("inf"), None]),
    "d": (pa.float64(), [0.1, None, float("-inf")]),
    "ok": (pa.bool_(), [True, None, False]),
    "name": (pa.string(), ["é", None, ""]),
    "raw": (pa.binary(), [b"\x00\xff", None, b""]),
    "tag": (pa.dictionary(pa.int32(), pa.string()), ["x", None, "x"]),
    "price": (pa.decimal128(20, 3), [Decimal("-1.250"), None, Decimal("99999999999999999.999")]),
    "day": (pa.date32(), [dt.date(1969, 12, 31), None, dt.date(2024, 2, 29)]),
    "at": (pa.timestamp("us", "UTC"), [dt.datetime(1960, 1, 1, 0, 0, 0, 5, dt.timezone.utc), None, None]),
    "local": (pa.timestamp("ms"), [dt.datetime(2024, 1, 2, 3, 4, 5), None, dt.datetime(1700, 1, 1)]),
    "words": (pa.list_(pa.string()), [["a", None], None, []]),
    "deep": (pa.list_(pa.list_(pa.int16())), [[[1], []], [None, [2, 3]], None]),
    "pair": (pa.list_(pa.float32(), 2), [[1.0, 2.0], None, [3.0, None]]),
    "pos": (pa.struct([("x", pa.int32()), ("y", pa.string())]), [{"x": 1, "y": None}, None, {"x": None, "y": "b"}]),
    "more": (pa.map_(pa.string(), pa.float64()), [[("k", 1.0), ("l", None)], None, []]),
}
BLOCK = pa.record_batch({name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()})


def read(format: Format, path: str, split_bytes: int = 1 << 30) -> list[dict[str, object]]:
    """The rows without their origin, which is checked."""
    files = find_files([path])
    options = ReadOptions(infer_schema(files, format.name).schema)
    splits = split_file(files[0], 0, format.name, split_bytes)
    found = [row for result in read_all(splits, options) if result.block for row in result.block.to_pylist()]
    assert [row.pop("_origin_row") for row in found] == list(range(len(found)))
    assert {row.pop("_origin_file") for row in found} <= {path}
    return found


def test_each_format_is_found_by_its_extensions():
    extensions = [extension for one in FORMATS.values() for extension in one.extensions]
    assert len(set(extensions)) == len(extensions)
    for one in FORMATS.values():
        assert {format_by_extension(f"d.x/A{extension.upper()}") for extension in one.extensions} <= {one}
        assert {written_by_extension(f"a{extension}") for extension in one.written_extensions} <= {one}
        assert all(callable(getattr(one.reader, name)) for name in ("schema", "split", "read"))
        assert one.written_by is None or all(callable(getattr(one.writer, n)) for n in ("open_file", "merge"))
    assert written_by_extension("a.arrow") is written_by_extension("a.csv.gz") is written_by_extension("csv") is None
    with pytest.raises(ValueError, match="arrow is not written"):
        _ = ARROW.writer


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
def test_all_kinds_of_values_come_back(tmp_path: Path, format: Format):
    sliced = pa.Table.from_batches([BLOCK, BLOCK]).combine_chunks().to_batches()[0].slice(2, 3)
    path = write(format, tmp_path / f"a{format.extensions[0]}", BLOCK, sliced)
    expected = [*BLOCK.to_pylist(), *sliced.to_pylist()]
    assert read(format, path) == expected


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
def test_slices_of_nested_columns_with_nulls(tmp_path: Path, format: Format):
    # Arrow's ORC writer takes other rows of a slice within a struct, and of what a null one hides.
    inner = [None if n % 5 == 1 else {"x": None if n % 3 else n, "l": None if n % 4 else [n, None]} for n in range(30)]
    column = pa.array([None if n % 7 == 2 else {"y": one} for n, one in enumerate(inner)])
    block = pa.record_batch({"c": column, "m": pa.array([[one] * (n % 3) for n, one in enumerate(inner)])})
    path = write(format, tmp_path / f"a{format.extensions[0]}", block.slice(11, 13), block.slice(3, 9))
    assert read(format, path) == [*block.slice(11, 13).to_pylist(), *block.slice(3, 9).to_pylist()]


@pytest.mark.parametrize("format", WRITTEN, ids=ids)
def test_splits_hold_every_row_once(tmp_path: Path, format: Format):
    rows = 3_000
    blocks = [
        pa.record_batch({"n": np.arange(begin, begin + 500), "s": ["é" * (k % 50) for k in range(500)]})
        for begin in range(0, rows, 500)
    ]
    path = write(format, tmp_path / f"a{format.extensions[0]}", *blocks)
    (file,) = find_files([path])
    options = ReadOptions(infer_schema([file], format.name).schema, columns=("n",), block_rows=700)
    for size in (1, 5_000, 1 << 30):
        splits = split_file(file, 0, format.name, size)
        assert [row["n"] for result in read_all(splits, options) for row in result.block.to_pylist()] == [*range(rows)]
    (whole,) = splits
    assert count_rows(whole) == rows
    part = read_all([slice_split(whole, 700, 2_100)], options)
    assert [row["n"] for result in part for row in result.block.to_pylist()] == [*range(700, 2_100)]


@pytest.mark.parametrize("format", WRITTEN, ids=ids)
def test_parts_of_files_are_put_together(tmp_path: Path, format: Format):
    target = Target(f"{tmp_path}/preds{format.extensions[0]}", BLOCK.select(["id", "name", "pair"]).schema, "job")
    block = pa.Table.from_batches([BLOCK] * 4).combine_chunks().to_batches()[0].select(["id", "name", "pair"])

    def temp(*blocks: pa.RecordBatch) -> TempFile:
        path = write(format, Path(target.new_path()), *blocks)
        return TempFile(path, sum(one.num_rows for one in blocks), Path(path).stat().st_size, ("", 0, 0))

    one, other = temp(block, block.slice(5, 4)), temp(block)
    merged = merge_shard(OutputShard(0, (Part(one, 2, 15), Part(other, 0, 12), Part(one, 3, 3))), target)
    assert merged.rows == 25
    whole = pa.Table.from_batches([block, block.slice(5, 4)]).slice(2, 13)
    found, expected = read(format, merged.path), read(format, temp(*whole.to_batches(), block).path)
    assert found == expected
    assert len(found) == 25


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
def test_a_file_without_rows_tells_its_columns(tmp_path: Path, format: Format):
    path = write(format, tmp_path / f"a{format.extensions[0]}", BLOCK.slice(0, 0))
    assert read(format, path) == []
    assert infer_schema(find_files([path]), format.name).schema.names == BLOCK.schema.names


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
@pytest.mark.parametrize("left", [0.99, 0.5, 0.02, 0])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, format: Format, left: float):
    path = Path(write(format, tmp_path / f"a{format.extensions[0]}", *[BLOCK] * 20))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises((UsageError, OSError)) as error:
        read(format, str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
def test_files_behind_one_another_are_refused(tmp_path: Path, format: Format):
    path = Path(write(format, tmp_path / f"a{format.extensions[0]}", BLOCK))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(OSError, match=f"{format.name.title()}|{format.name.upper()} files behind one another") as error:
        read(format, str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("format", READ_BACK, ids=lambda one: one.name)
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_an_error_or_another_value(tmp_path: Path, format: Format, seed: int):
    rng = np.random.default_rng(seed)
    path = Path(write(format, tmp_path / f"a{format.extensions[0]}", *[BLOCK] * 20))
    whole = bytearray(path.read_bytes())
    for at in rng.integers(0, len(whole), 5):
        whole[at] = rng.integers(256)
    path.write_bytes(whole)
    try:
        found = read(format, str(path))
    except (UsageError, OSError) as error:
        assert "\n" not in str(error)
    else:
        assert len(found) <= 60


@pytest.mark.parametrize("format", WRITTEN, ids=ids)
def test_the_command_reads_and_writes_it(command: Command, format: Format):
    extension = format.extensions[0]
    source = write(format, command.folder / f"data{extension}", *command.table.to_batches(max_chunksize=100))
    expected = pq.read_table(command.data).column("id").to_pylist()
    code, _, err = command.run("--keep", "id", "--num_shards", 1, "--quiet", "--workers", 2, input=source)
    assert (code, err) == (0, "")
    scored = command.rows()
    assert scored.column("id").to_pylist() == expected
    again = command.folder / "out" / f"again{extension}"
    errors = command.folder / f"errors{extension}"
    options = ("--keep", "id", "--num_shards", 1, "--quiet", "--errors", errors)
    code, _, err = command.run(*options, output=again)
    assert (code, err) == (0, "")
    found = read(format, str(again))
    assert [row["id"] for row in found] == expected
    if not format.cells:
        y = np.array([row["y"] for row in found], np.float32)
        np.testing.assert_array_equal(y, np.stack(scored.column("y").to_pylist()))
    assert len(found) == ROWS
    assert errors.exists()
