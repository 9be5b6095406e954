from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import ReadOptions, find_files, input_schema, parquet, read_split
from beamsplit.transforms.read.head_start import head_start
from beamsplit.transforms.read.splits import splits_at_once
from tests.transforms.read.head_starts import wait_for_the_thread


def case(path: Path, rows: int, group_rows: int, workers: int):
    pq.write_table(pa.table({"i": np.arange(rows), "f": np.arange(rows) / 2}), path, row_group_size=group_rows)
    files = find_files([str(path)])
    splits = splits_at_once(files, "parquet", workers)
    assert splits
    return splits, ReadOptions(input_schema(files, "parquet"), block_rows=33)


def numbers(splits, options) -> list[list[int]]:
    """What each split gives, read as the workers do: in turn, a block each."""
    return [[i for result in read_split(s, options) for i in result.block.column("i").to_pylist()] for s in splits]


@pytest.mark.parametrize(("rows", "group_rows"), [(4_000, 4_000), (4_000, 1_500), (4_000, 10), (1, 1)])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("wait", [True, False])
def test_the_rows_are_those_that_are_read_without_it(tmp_path, monkeypatch, rows, group_rows, workers, wait):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 100)
    splits, options = case(tmp_path / "t.parquet", rows, group_rows, workers)
    plain = numbers(splits, options)
    assert sorted(i for part in plain for i in part) == list(range(rows))
    parquet.forget_decoders()
    with head_start(splits, options, workers):
        if wait:
            wait_for_the_thread()
        assert numbers(splits, options) == plain
    assert not parquet._idle and not parquet._started


def test_a_worker_in_mid_row_group_takes_what_was_decoded_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 100)
    splits, options = case(tmp_path / "t.parquet", 4_000, 4_000, 2)
    with head_start(splits, options, 2):
        wait_for_the_thread()
        left, right = (decoder for _, decoder in parquet._started)
        assert (left.begin, left.end, right.begin, right.end) == (0, 2_000, 2_000, 4_000)
        assert 2_000 <= left.decoded < 2_000 + 33 and right.decoded == 4_000
        monkeypatch.setattr(parquet, "_Decoder", None)  # Nothing is opened again.
        assert [part[0] for part in numbers(splits[:2], options)] == [0, 2_000]


def test_other_columns_take_nothing_of_it(tmp_path):
    splits, options = case(tmp_path / "t.parquet", 100, 50, 2)
    fewer = ReadOptions(options.schema, ("i",), 33)
    with head_start(splits, options, 2):
        wait_for_the_thread()
        assert [i for part in numbers(splits, fewer) for i in part] != []
        assert len(parquet._started) == len(splits[:2])


def test_it_ends_early_and_within_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("beamsplit.transforms.read.head_start.MOST_BYTES", 1_000)
    splits, options = case(tmp_path / "t.parquet", 4_000, 4_000, 2)
    with head_start(splits, options, 2):
        wait_for_the_thread()
        waiting = sum(batch.nbytes for _, decoder in parquet._started for _, batch in decoder._ahead)
        assert 1_000 <= waiting < 1_000 + 33 * 16
    with pytest.raises(RuntimeError, match="mine"), head_start(splits, options, 2):
        raise RuntimeError("mine")
    wait_for_the_thread()
    assert not parquet._started


def test_a_damaged_file_is_told_by_the_reader(tmp_path):
    path = tmp_path / "t.parquet"
    splits, options = case(path, 4_000, 4_000, 2)
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(1_000) + data[1_004:])
    with head_start(splits, options, 2):
        wait_for_the_thread()
        with pytest.raises(OSError, match=r"t\.parquet"):
            numbers(splits, options)


def test_a_decoder_that_was_taken_is_its_readers_alone(tmp_path, monkeypatch):
    """Whoever decodes ahead lets go of it in mid row group; its reader finds every row, and no other finds it."""
    monkeypatch.setattr(parquet, "LEAST_ROWS", 100)
    (split,), options = case(tmp_path / "t.parquet", 400, 400, 1)
    (decoder,) = parquet.start_decoders(split, options)
    assert decoder.decode_ahead() and decoder.decode_ahead()
    ahead = decoder.decoded
    assert 0 < ahead < 400
    ((key, _),) = parquet._started
    assert parquet._take_idle(key, 0) is decoder
    assert parquet._take_idle(key, 0) is None and not parquet._started
    assert decoder.decode_ahead() is None and decoder.decoded == ahead
    assert [i for _, batch in decoder for i in batch.column("i").to_pylist()] == list(range(400))


def test_a_decoder_is_not_taken_by_who_begins_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 100)
    splits, options = case(tmp_path / "t.parquet", 400, 400, 2)
    for split in splits:
        parquet.start_decoders(split, options)
    try:
        (key, first), (_, second) = parquet._started
        assert (first.begin, second.begin) == (0, 200)
        assert parquet._take_idle((*key[:-1], 0), 399) is None, "of other batches"
        assert parquet._take_idle(key, 250) is second, "the closest before"
        assert parquet._take_idle(key, 199) is first
        assert parquet._take_idle(key, 399) is None
    finally:
        parquet.forget_decoders()
