"""Rows that are wanted, of each format: the same as of all rows, and no more of the file is read than their pieces."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import ReadOptions, find_files, format_of, infer_schema, make_splits, read_all, wanted
from beamsplit.transforms.read.splits import count_rows
from beamsplit.transforms.read.wanted import wanted_splits

ROWS = 2_000
TABLE = pa.table({"id": np.arange(ROWS), "x": np.arange(ROWS) / 4})


def write(folder: Path, name: str) -> str:
    """A file of 2,000 rows; of text, every 97th is bad and some lines are blank."""
    path = folder / name
    lines = [json.dumps({"id": at, "x": at / 4}) if at % 97 else '{"id": 1, "x": "bad"}' for at in range(ROWS)]
    if name.endswith(".parquet"):
        pq.write_table(TABLE, path, row_group_size=300)
    elif name.endswith(".arrow"):
        pa.feather.write_feather(TABLE, path, chunksize=300)
    elif name.endswith(".orc"):
        pa.orc.write_table(TABLE, path)
    elif name.endswith(".csv"):
        path.write_text("id,x\n" + "".join(f"{at},{at / 4 if at % 97 else 'bad'}\n" for at in range(ROWS)))
    else:
        content = "".join(f"{line}\n" if at % 5 else f"\n{line}\n" for at, line in enumerate(lines)).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.orc", "a.csv", "a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(
    "rows", [[0], [ROWS - 1], [97, 98, 194], [3, 500, 501, 1_999], list(range(0, ROWS, 7)), list(range(ROWS))]
)
def test_each_wanted_row_comes_once(tmp_path: Path, name: str, rows: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wanted, "PIECE_BYTES", 4_000)
    files = find_files([write(tmp_path, name)])
    format = format_of(files)
    options = ReadOptions(pa.schema([("id", pa.int64()), ("x", pa.float64())]), block_rows=128)
    splits = wanted_splits(files, format, {files[0].path: np.array(rows).tobytes()})

    def read(splits: list) -> dict[int, object]:
        found: dict[int, object] = {}
        for block, failures, _ in read_all(splits, options):
            made = [(row["_origin_row"], row["id"]) for row in block.to_pylist()] if block is not None else []
            for row, told in [*made, *((one.row, one.reason) for one in failures)]:
                assert row not in found
                found[row] = told
            if block is not None:
                assert set(block["_origin_file"].to_pylist()) <= {files[0].path}
            assert {one.file for one in failures} <= {files[0].path}
        return found

    every = read(make_splits(files, format, 1))
    assert read(splits) == {row: every[row] for row in rows}
    assert len(every) == ROWS
    if rows == [97, 98, 194] and name != "a.jsonl.gz":
        assert sum(count_rows(split) for split in splits) <= 98
    if FORMATS[format].text:
        assert all(split.first_row is not None for split in splits)


def test_a_file_that_has_fewer_rows_is_another(tmp_path: Path):
    files = find_files([write(tmp_path, "a.parquet")])
    with pytest.raises(UsageError, match=r"has 2,000 rows, and 2 that failed are beyond them, the last row 5000"):
        wanted_splits(files, "parquet", {files[0].path: np.array([3, 2_000, 5_000]).tobytes()})


def test_files_that_are_rows(tmp_path: Path):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    files = find_files([str(tmp_path)])
    splits = wanted_splits(files, "files", {str(tmp_path / "b"): np.array([0]).tobytes()})
    options = ReadOptions(infer_schema(files, "files").schema)
    assert [row["bytes"] for one in read_all(splits, options) for row in one.block.to_pylist()] == [b"b"]
