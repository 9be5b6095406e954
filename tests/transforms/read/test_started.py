"""Blocks that are read before a worker asks: of each format, those that it would read itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from beamsplit.transforms.read import ReadOptions, find_files, input_schema, read_split
from beamsplit.transforms.read import started as module
from beamsplit.transforms.read.head_start import head_start
from beamsplit.transforms.read.splits import read_anew, split_file
from beamsplit.transforms.read.started import StartedSplits
from tests.transforms.read.head_starts import wait_for_the_thread


def csv_text(rows: int) -> bytes:
    """Rows of which each seventh has a cell too many."""
    lines = (f"{row},{row / 2}" + (",x" if row % 7 == 0 else "") for row in range(rows))
    return ("i,f\n" + "\n".join(lines) + "\n").encode()


def write(path: Path, rows: int) -> Path:
    if path.suffix == ".jsonl":
        objects = (json.dumps({"i": "x" if row % 7 == 0 else row, "f": row / 2}) for row in range(rows))
        path.write_text("\n".join(objects))
    else:
        path.write_bytes(gzip.compress(csv_text(rows)) if path.suffix == ".gz" else csv_text(rows))
    return path


def told(splits, options) -> list[list]:
    """(rows, failures) that each split gives."""
    return [
        [(r.block.to_pylist() if r.block is not None else [], r.failures) for r in read_split(split, options)]
        for split in splits
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl"])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("wait", [True, False])
def test_rows_and_failures_are_those_that_are_read_without_it(tmp_path, monkeypatch, name, workers, wait):
    monkeypatch.setattr("beamsplit.transforms.read.lines.RUN_BYTES", 500)
    files = find_files([str(write(tmp_path / name, 700))])
    format = "jsonl" if name.endswith("jsonl") else "csv"
    splits = split_file(files[0], 0, format, 1_000)
    options = ReadOptions(input_schema(files, format), block_rows=33)
    assert len(splits) > 5 or name.endswith("gz")
    plain = told(splits, options)
    assert sum(len(rows) for split in plain for rows, _ in split) == 600
    assert sum(len(failures) for split in plain for _, failures in split) == 100
    with head_start(splits, options, workers):
        if wait:
            wait_for_the_thread()
            assert all(one._begun for one in module._started)
        assert told(splits, options) == plain
    assert not module._started


def test_a_worker_that_has_begun_is_not_read_ahead_of(tmp_path):
    files = find_files([str(write(tmp_path / "t.csv", 700))])
    splits = split_file(files[0], 0, "csv", 1_000)
    options = ReadOptions(input_schema(files, "csv"), block_rows=10)
    some = StartedSplits(splits, options, read_anew)
    assert some.decode_ahead() is not None
    assert some.take(splits[1], options) is None
    assert some.decode_ahead() is None
    assert next(some.take(splits[0], options)).failures
    some.close()


def test_other_columns_take_nothing_of_it(tmp_path):
    files = find_files([str(write(tmp_path / "t.csv", 70))])
    splits = split_file(files[0], 0, "csv", 1 << 30)
    options = ReadOptions(input_schema(files, "csv"))
    with head_start(splits, options, 1):
        wait_for_the_thread()
        fewer = told(splits, ReadOptions(options.schema, ("i",)))
        assert fewer[0][1][0][0].keys() == {"i", "_origin_file", "_origin_row"}
        assert module._started[0]._begun


def test_an_error_comes_behind_the_rows_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr("beamsplit.transforms.read.lines.RUN_BYTES", 100_000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"i,f\n" + b"".join(b"%d,0.5\n" % row for row in range(300_000)))[:-100])
    files = find_files([str(path)])
    splits = split_file(files[0], 0, "csv", 1 << 30)
    options = ReadOptions(input_schema(files, "csv"))

    def until_the_error() -> tuple[int, str]:
        rows = 0
        with pytest.raises(OSError) as raised:
            for result in read_split(splits[0], options):
                rows += result.block.num_rows
        return rows, str(raised.value)

    plain = until_the_error()
    assert plain[0] > 100_000
    with head_start(splits, options, 1):
        wait_for_the_thread()
        assert module._started[0].ahead == plain[0]
        assert until_the_error() == plain


def test_what_nobody_takes_is_closed(tmp_path):
    closed = []

    def read(split, options):
        try:
            yield from read_anew(split, options)
        finally:
            closed.append(split)

    files = find_files([str(write(tmp_path / "t.csv", 700))])
    splits = split_file(files[0], 0, "csv", 1 << 30)
    some = StartedSplits(splits, ReadOptions(input_schema(files, "csv"), block_rows=10), read)
    module.start(some)
    assert some.decode_ahead() is not None and not closed
    module.forget([some])
    assert closed == splits and not module._started
