"""Rows that are read one after the other: which of them a split has, in what blocks, and where they were."""

from __future__ import annotations

from itertools import product

import pyarrow as pa
import pytest

from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.formats.row_buffer import in_blocks
from beamsplit.transforms.read.result import ReadOptions
from beamsplit.transforms.split import Split

FILE = pa.schema([("a", pa.int64()), ("b", pa.string())])
SIZE = 1000
"""Bytes of a row in its file; more than in memory."""


def read(rows: int, first: int, window: tuple[int, int | None], bad: set[int] = frozenset(), **how: int):  # type: ignore[assignment]
    """(blocks as rows of origin and values, number in the file and reason of those that failed)."""
    split = Split("x", ("f",), (0, 0), 0, 1, first, rows, 1, row_start=window[0], row_stop=window[1])
    asked: list[int] = []

    def values(number: int, row: int) -> tuple[list[object] | str, int]:
        asked.append(number)
        return ("broken" if number in bad else [row, f"row {row}"]), SIZE

    blocks, failed = [], []
    for result in in_blocks(split, ReadOptions(FILE, **how), FILE, range(first, first + rows), values):
        failed += [(one.row, one.reason) for one in result.failures]
        if result.block is not None:
            assert set(result.block.column(ORIGIN_FILE).to_pylist()) == {"f"}
            blocks.append([(one[ORIGIN_ROW], one["a"], one["b"]) for one in result.block.to_pylist()])
    start, stop = window
    assert asked == list(range(first + start, first + (rows if stop is None else min(stop, rows))))
    return blocks, failed


def rows_of(*numbers: int) -> list[tuple[int, int, str]]:
    return [(number, number, f"row {number}") for number in numbers]


WINDOWS = [(0, None), (0, 0), (0, 1), (0, 4), (2, None), (2, 5), (6, 7), (3, 99), (7, None)]


@pytest.mark.parametrize(("first", "window"), product([0, 100], WINDOWS))
def test_a_window_has_its_rows_with_their_numbers(first: int, window: tuple[int, int | None]):
    start, stop = window
    wanted = list(range(first, first + 7))[start:stop]
    for most in (1, 2, 3, 7, 50):
        expected = [rows_of(*wanted[at : at + most]) for at in range(0, len(wanted), most)]
        assert read(7, first, window, block_rows=most) == (expected, [])
        # As many bytes, or one more: the row that reaches them is the block's last.
        assert read(7, first, window, block_bytes=most * SIZE) == (expected, [])
        assert read(7, first, window, block_bytes=most * SIZE - 9) == (expected, [])


@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_rows_without_values_fail_where_they_were(most: int):
    bad = {100, 103, 104, 106}
    blocks, failed = read(7, 100, (0, None), bad, block_rows=most)
    assert [row for block in blocks for row in block] == rows_of(101, 102, 105)
    assert failed == [(number, "broken") for number in sorted(bad)]
    assert max(map(len, blocks)) <= most


def test_a_value_that_is_not_of_the_wanted_type_fails_its_row_beside_those():
    split = Split("x", ("f",), (0, 0), 0, 1, 50, 4, 1)
    wanted, own = pa.schema([("a", pa.int8())]), pa.schema([("a", pa.int64())])
    given = [[1], "broken", [1000], [4]]
    results = list(in_blocks(split, ReadOptions(wanted), own, range(4), lambda number, row: (given[row], 1)))
    failed = [(one.row, one.reason) for result in results for one in result.failures]
    assert [number for number, _ in failed] == [51, 52] and failed[0][1] == "broken" and "1000" in failed[1][1]
    (block,) = [result.block for result in results if result.block is not None]
    assert block.schema.field("a").type == pa.int8()
    assert [(one[ORIGIN_ROW], one["a"]) for one in block.to_pylist()] == [(50, 1), (53, 4)]


def test_rows_of_no_columns_are_counted():
    split = Split("x", ("f",), (0, 0), 0, 1, 5, 3, 1)
    (result,) = in_blocks(split, ReadOptions(pa.schema([])), pa.schema([]), range(3), lambda *_: ([], 1))
    assert result.block is not None and result.block.column(ORIGIN_ROW).to_pylist() == [5, 6, 7]
