from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import find_files
from beamsplit.transforms.read.splits import count_rows, deal_in_order
from beamsplit.transforms.split import Split


def split(number: int, rows: int | None, format: str = "parquet") -> Split:
    return Split(format, ("a",), (0, number), number, number + 1, 0, rows, 100)


def numbers(splits: list[Split]) -> list[tuple[int, int]]:
    """(split, row in it) of every row, in order."""
    return [(part.order[1], part.row_start + row) for part in splits for row in range(count_rows(part))]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=2, max_size=12), st.integers(2, 5))
def test_each_worker_gets_a_range_in_order_and_all_rows_are_there_once(counts, workers):
    splits = [split(number, rows) for number, rows in enumerate(counts)]
    dealt = deal_in_order(splits, workers)
    ranges = [numbers(dealt[k::workers]) for k in range(workers)]
    for rows in ranges:
        assert rows == sorted(rows)
    assert sorted(row for rows in ranges for row in rows) == numbers(splits)
    together = [rows for rows in sorted(ranges) if rows]
    assert [row for rows in together for row in rows] == numbers(splits)


@given(st.integers(2, 20), st.integers(1, 1_000_000), st.integers(2, 5))
def test_rows_are_dealt_evenly(groups, last, workers):
    splits = [*(split(number, 1_000_000) for number in range(groups)), split(groups, last)]
    dealt = deal_in_order(splits, workers)
    loads = np.array([sum(count_rows(part) for part in dealt[k::workers]) for k in range(workers)])
    assert loads.max() - loads.min() <= 1


def test_an_example():
    dealt = deal_in_order([split(number, 10) for number in range(5)], 2)
    assert [(part.order[1], part.row_start, part.row_stop) for part in dealt] == [
        (0, 0, 10),
        (2, 5, 10),
        (1, 0, 10),
        (3, 0, 10),
        (2, 0, 5),
        (4, 0, 10),
    ]


def test_text_is_dealt_whole():
    splits = [split(number, None, "csv") for number in range(5)]
    assert [part.order[1] for part in deal_in_order(splits, 2)] == [0, 3, 1, 4, 2]


def test_one_split_is_shared_by_all_workers():
    dealt = deal_in_order([split(0, 10)], 2)
    assert [(part.row_start, part.row_stop) for part in dealt] == [(0, 5), (5, 10)]


def test_files_are_dealt_evenly_too():
    paths = tuple(f"photo-{number}.jpg" for number in range(7))
    splits = [
        Split("files", paths[:5], (0, 0), 0, 5, 0, 5, 500),
        Split("files", paths[5:], (5, 0), 5, 7, 0, 2, 200),
    ]
    dealt = deal_in_order(splits, 2)
    assert sorted(sum(count_rows(part) for part in dealt[k::2]) for k in range(2)) == [3, 4]


@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_splits_of_a_text_weigh_what_is_read_of_it(tmp_path: Path, end: str):
    path = tmp_path / f"a.{end}"
    path.write_text("a,b\n1,2\n" * 500 if end == "csv" else '{"a": 1}\n' * 500)
    (file,) = find_files([str(path)])
    splits = list(FORMATS[end].reader.split(file, 0, 1000))
    assert len(splits) > 3
    assert [one.weight for one in splits] == [one.stop - one.start for one in splits]
    # But for the names of a CSV file's columns.
    assert path.stat().st_size - len("a,b\n") <= sum(one.weight for one in splits) <= path.stat().st_size
