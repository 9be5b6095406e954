from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.read.splits import count_rows, even_tail
from transforms.split import Split


def split(number: int, rows: int, format: str = "parquet") -> Split:
    return Split(format, ("a",), (0, number), number, number + 1, 0, rows, rows)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=12), st.integers(1, 5))
def test_every_row_is_there_once_and_in_order(counts, workers):
    cut = even_tail([split(number, rows) for number, rows in enumerate(counts)], workers)
    rows = [(part.order[1], part.row_start + i) for part in cut for i in range(count_rows(part))]
    assert rows == [(number, row) for number, count in enumerate(counts) for row in range(count)]


@given(st.integers(1, 20), st.integers(1, 1_000_000), st.integers(2, 5))
def test_equal_row_groups_and_a_short_last_one_are_dealt_evenly(groups, last, workers):
    cut = even_tail([*(split(number, 1_000_000) for number in range(groups)), split(groups, last)], workers)
    loads = np.array([sum(count_rows(part) for part in cut[k::workers]) for k in range(workers)])
    assert loads.max() <= 1.02 * loads.min() + workers


def test_text_is_left_alone():
    splits = [split(0, 10, "csv"), split(1, 90, "csv")]
    assert even_tail(splits, 2) == splits
