"""Small files that are read together give the rows and the errors that each gives by itself."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import ReadOptions, find_files, has_rows, read_split, splits, together
from beamsplit.transforms.read.splits import count_rows, split_file, splits_at_once

CSV = [
    b"a,b\n1,x\n2,y\n",
    b"a,b\n3,z",  # no line feed at its end
    b"a,b\r\n4,w\r\n",
    b"a,b\r5,v\r6,u\r",
    b"a,b\n7\n8,t\n",  # a cell too few
    b"a,b\n,\n",  # nulls
    b"a,b\n9,NA\n",
    b"b,a\nx,10\n",  # in another order
    b'a,b\n11,"s\nr"\n12,"q,p"\n',
    b'a,b\n13,"never closed\n14,x\n',
    b'a,b\n15,o"o\n',
    b"\xef\xbb\xbfa,b\n16,n\n",
    b"a,b\n17,\xff\n18,m\n",
    b"a,b\n",
    b"a,b\n\n\n19,l\n\n20,k\n",
    b"a,b,c\n21,j,0\n",
    b"a\n22\n",  # a column is not there
    b"a,b\nword,i\n23,h\n",
    b"a,b\n9007199254740993,g\n",
    b"a,b\na,b\n24,f\n",  # the names once more
    gzip.compress(b"a,b\n25,e\n26,d\n"),
    b'a,b\n27,""\n',
    b"a,b\n28,c\n",
]

JSON = [
    b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n',
    b'{"a": 3}',
    b'{"a": 4, "b": "w"}\r\n',
    b'\xef\xbb\xbf{"a": 5}\n',
    b'{"a": "word"}\n{"a": 6}\n',
    b'{"a": 7\n}\n',
    b"null\n",
    b'{"a": 8}{"a": 9}\n',
    b'{"a": 10}\n\n \n{"a": 11}',
    b'[{"a": 12}, {"a": 13, "b": "z"}]',
    b'{"b": "\xff"}\n{"a": 14}\n',
    gzip.compress(b'{"a": 15}\n'),
    b'{"a": 9007199254740993}\n',
    b'{"a": 16, "a": 17}\n',
    b'{"a": 18}\r',
    b'{"a": 19}\n',
]

SCHEMA = pa.schema([("a", pa.float64()), ("b", pa.string())])


def write(folder: Path, texts: list[bytes], extension: str) -> list:
    for number, text in enumerate(texts):
        (folder / f"f{number:03}.{extension}").write_bytes(text)
    return find_files([f"{folder}/*.{extension}"])


def told(some, options) -> tuple[list, list]:
    """(rows with their origin, failures), each in order."""
    rows, failures = [], []
    for split in some:
        for result in read_split(split, options):
            rows += result.block.to_pylist() if result.block is not None else []
            failures += result.failures
    return rows, failures


def each(files, format, options) -> tuple[list, list]:
    return told([split for at, file in enumerate(files) for split in split_file(file, at, format, 1 << 30)], options)


@pytest.mark.parametrize(("texts", "format"), [(CSV, "csv"), (JSON, "jsonl")])
@pytest.mark.parametrize("block_rows", [1, 4, 1_000])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_hostile_texts(tmp_path, texts, format, block_rows, seed):
    # A good one before and behind each, so that all have neighbours of both sorts.
    texts = [one for text in texts for one in (text, texts[0], texts[-1])]
    if seed is not None:
        texts = [texts[at] for at in np.random.default_rng(seed).permutation(len(texts))]
    files = write(tmp_path, texts, format)
    options = ReadOptions(SCHEMA, block_rows=block_rows)
    wanted = each(files, format, options)
    assert len(wanted[0]) > 40 and len(wanted[1]) > 4
    (one,) = splits_at_once(files, format, 1)
    assert len(one.parts) > 30
    rows, failures = told([one], options)
    assert rows == wanted[0]
    assert sorted(failures) == sorted(wanted[1])
    assert count_rows(one) == len(rows) + len(failures)


def test_good_files_are_one_block(tmp_path):
    files = write(tmp_path, [b"a,b\n%d,x\n" % at for at in range(50)], "csv")
    (one,) = splits_at_once(files, "csv", 1)
    (result,) = read_split(one, ReadOptions(SCHEMA))
    assert result.block.num_rows == 50 and not result.failures
    assert result.block.column("_origin_row").to_pylist() == [0] * 50
    assert result.block.column("_origin_file").to_pylist() == [file.path for file in files]


def test_few_files_are_parsed_again_for_a_bad_one(tmp_path, monkeypatch):
    files = write(tmp_path, [b"a,b\n%s,x\n" % (b"bad" if at == 77 else b"1") for at in range(256)], "csv")
    (one,) = splits_at_once(files, "csv", 1)
    parsed = []
    from beamsplit.transforms.read import csv_rows

    plain = csv_rows.parse_text
    monkeypatch.setattr(csv_rows, "parse_text", lambda text, *rest: parsed.append(text) or plain(text, *rest))
    rows, failures = told([one], ReadOptions(SCHEMA))
    assert len(rows) == 255 and [failure.file for failure in failures] == [files[77].path]
    assert len(parsed) == 2 * 8 + 1


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("at_once", [1_000, 10])
def test_workers_get_ranges_in_order(tmp_path, monkeypatch, workers, at_once):
    monkeypatch.setattr(splits, "FILES_SPLIT_AT_ONCE", at_once)
    files = write(tmp_path, [b"" if at % 9 == 4 else b"a,b\n%d,x\n" % at for at in range(60)], "csv")
    dealt = splits_at_once(files, "csv", workers)
    assert len(dealt) < 20
    options = ReadOptions(SCHEMA)
    found = [told(dealt[worker::workers], options)[0] for worker in range(workers)]
    assert all(found)
    assert [row for rows in found for row in rows] == each(files, "csv", options)[0]


@pytest.mark.parametrize("at_once", [1_000, 10])
def test_files_of_columns(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(splits, "FILES_SPLIT_AT_ONCE", at_once)
    for at in range(40):
        table = pa.table({"a": pa.array([at], pa.int32() if at % 3 else pa.float64()), "b": [f"{at}"]})
        pq.write_table(table.select(["b", "a"] if at % 5 == 0 else ["a", "b"]), tmp_path / f"f{at:03}.parquet")
    files = find_files([f"{tmp_path}/*.parquet"])
    options = ReadOptions(SCHEMA)
    dealt = splits_at_once(files, "parquet", 1)
    assert len(dealt) == 1
    assert told(dealt, options) == each(files, "parquet", options)
    assert len(list(read_split(dealt[0], options))) == 1


def test_ranges_of_rows_are_cut_from_files_that_are_not_together(tmp_path):
    files = write(tmp_path, [b"a,b\n1,x\n"] * 20, "csv")
    dealt = splits_at_once(files, "csv", 1, whole=False)
    assert len(dealt) == 20 and not any(split.parts for split in dealt)
    assert has_rows(files, "csv")


def test_what_is_small_only_while_it_is_compressed_is_read_in_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "RUN_BYTES", 100)
    texts = [gzip.compress(b"a,b\n" + b"1,x\n" * 100), b"a,b\n2,y\n", b"a,b\n3,z\n"]
    files = write(tmp_path, texts, "csv")
    options = ReadOptions(SCHEMA)
    (one,) = splits_at_once(files, "csv", 1)
    assert told([one], options) == each(files, "csv", options)


def test_a_damaged_file_is_told_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FILES_SPLIT_AT_ONCE", 1)
    whole = gzip.compress(b"a,b\n1,x\n" * 50)
    files = write(tmp_path, [b"a,b\n1,x\n", whole[:-9], b"a,b\n1,x\n"], "csv")
    (one,) = splits_at_once(files, "csv", 1)
    with pytest.raises(OSError, match=r"f001\.csv"):
        told([one], ReadOptions(SCHEMA))
